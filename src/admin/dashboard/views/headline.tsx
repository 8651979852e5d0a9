import type { CacheCounters } from '../../../balancing/accounting/cache-counters.ts'
import type { PoolOverview } from '../../../balancing/operators/overview.ts'
import type { KeySnapshot, PoolSnapshot } from '../../../balancing/snapshot.ts'
import type { AddressStanding } from '../../address-standing.ts'
import type { Sight } from '../feed.ts'
import { byUrgency, REASON_WORDS, standingOf } from './key-standing.ts'
import { countText, Moment, plural, usdText } from './quantities.tsx'

/** More of them do not fit on a phone's first screen; the table below has them all, in this order. */
const MAX_SHOWN = 6

/** The first thing on the page: whether the pool serves, and what is wrong with it. */
export function Headline({ sight, pool }: { sight: Sight; pool: PoolOverview }) {
  const troubled = byUrgency(pool.keys).filter((key) => standingOf(key) !== 'well')
  return (
    <section id="headline" class={`headline ${toneOf(pool)}`} aria-labelledby="headline-title">
      <h1 id="headline-title">{titleOf(pool)}</h1>
      {sight.isStale && <StaleNote atMs={sight.atMs} />}
      {pool.panic && (
        <p>
          Most keys fail at once, so breakers are ignored until fewer do: it is more likely that
          OpenRouter fails than that all keys do.
        </p>
      )}
      {troubled.length > 0 && (
        <ul class="troubles">
          {troubled.slice(0, MAX_SHOWN).map((key) => (
            <Trouble keyShown={key} />
          ))}
          {troubled.length > MAX_SHOWN && (
            <li>
              <a href="#keys">and {plural(troubled.length - MAX_SHOWN, 'more key')}</a>
            </li>
          )}
        </ul>
      )}
      {sight.alerts.length > 0 && (
        <p>
          Alerts:{' '}
          {sight.alerts.slice(0, MAX_SHOWN).map(({ event, subject, sinceMs }) => (
            <>
              <span class="badge expiring">{event.replaceAll('_', ' ')}</span> {subject}{' '}
              <small>
                since <Moment ms={sinceMs} />
              </small>{' '}
            </>
          ))}
        </p>
      )}
      {sight.addresses.map(Untold)}
      <p class="facts">
        <span>
          Queue: <b>{pool.waiting === 0 ? 'nobody waits' : `${plural(pool.waiting, 'request')}`}</b>
        </span>
        <span>
          In flight: <b>{pool.keys.reduce((sum, { inFlight }) => sum + inFlight, 0)}</b>
        </span>
        {pool.cache !== undefined && <CacheToday counters={pool.cache.today} />}
        {pool.benchedModels.map(({ model, untilMs }) => (
          <span>
            Model out everywhere: <b>{model}</b>
            {untilMs !== null && (
              <>
                {' '}
                until <Moment ms={untilMs} mark="until" />
              </>
            )}
          </span>
        ))}
      </p>
    </section>
  )
}

/** An address that is not told of alerts: whoever relies on it must see so here. */
function Untold({ name, state, waiting, sinceMs, untilMs }: AddressStanding) {
  if (state === 'well') return null
  if (state === 'silent') {
    return (
      <p>
        No alert goes to <b>{name}</b>: POLICY.alerts.to does not name it.
      </p>
    )
  }
  return (
    <p class="note bad">
      Alerts do not reach <b>{name}</b>:{' '}
      {untilMs !== null ? (
        <>
          it has said that it is gone (410), and is left alone until{' '}
          <Moment ms={untilMs} mark="until" />.
        </>
      ) : (
        <>
          {plural(waiting, 'message')} to deliver, the oldest since <Moment ms={sinceMs ?? 0} />.
        </>
      )}
    </p>
  )
}

/** What shared and kept answers came to today; nothing where no route shares any. */
function CacheToday({ counters }: { counters: CacheCounters }) {
  const { hits, joins, misses, bypasses, keptBytes, savedUsd } = counters
  if (hits + joins + misses + bypasses === 0) return null
  return (
    <span id="cache">
      Shared answers today: <b>{plural(hits, 'hit')}</b>, <b>{plural(joins, 'join')}</b>,{' '}
      {countText(misses)} made, {countText(bypasses)} bypassed; <b>{usdText(savedUsd)}</b> saved,{' '}
      {countText(keptBytes / 1024)} KB kept
    </span>
  )
}

/** Said where the pool's object does not answer: old numbers must not look like new ones. */
export function StaleNote({ atMs }: { atMs: number }) {
  return (
    <p class="note bad" role="alert">
      The pool’s object does not answer. What follows is as of <Moment ms={atMs} />.
    </p>
  )
}

function titleOf({ usable, keys }: PoolSnapshot): string {
  if (keys.length === 0) return 'The pool has no keys'
  if (usable === 0) return `None of ${plural(keys.length, 'key')} is usable`
  return usable === keys.length
    ? `All ${plural(keys.length, 'key')} usable`
    : `${usable} of ${plural(keys.length, 'key')} usable`
}

function toneOf({ usable, panic, keys }: PoolSnapshot): 'bad' | 'warn' | 'good' {
  if (usable === 0 || panic) return 'bad'
  return keys.every((key) => ['well', 'off'].includes(standingOf(key))) ? 'good' : 'warn'
}

function Trouble({ keyShown: key }: { keyShown: KeySnapshot }) {
  return (
    <li>
      <a href={`#key-${key.id}`}>{key.id}</a> <StateWords keyShown={key} />
    </li>
  )
}

/** Why a key is out of use, and until when; or that it is not. */
export function StateWords({ keyShown: key }: { keyShown: KeySnapshot }) {
  const standing = standingOf(key)
  const [title, ending] = wordsOf(key)
  return (
    <span class="state">
      <span class={`badge ${standing}`}>{title}</span>{' '}
      {key.clearsAtMs !== null && key.reason !== null && (
        <span class="until">
          until <Moment ms={key.clearsAtMs} mark="until" />
        </span>
      )}{' '}
      {standing === 'expiring' && key.expiresAtMs !== null && (
        <span class="until">
          at <Moment ms={key.expiresAtMs} mark="until" />
        </span>
      )}
      {ending !== '' && <small>{ending}</small>}
    </span>
  )
}

function wordsOf(key: KeySnapshot): readonly [string, string] {
  if (key.reason !== null) return REASON_WORDS[key.reason]
  switch (standingOf(key)) {
    case 'recovering':
      return ['on probation', 'The next request tries it.']
    case 'expiring':
      return ['expires soon', 'OpenRouter will refuse it from then on.']
    default:
      return ['usable', '']
  }
}
