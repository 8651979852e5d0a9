import type { CreditSnapshot, KeySnapshot } from '../../../balancing/snapshot.ts'
import { StateWords } from './headline.tsx'
import { byUrgency, standingOf } from './key-standing.ts'
import { Head } from './layout.tsx'
import { Bar, countText, Moment, msText, percentText, usdText } from './quantities.tsx'

/** All keys, the most urgent first. */
export function KeysTable({ keys, mayWrite }: { keys: readonly KeySnapshot[]; mayWrite: boolean }) {
  return (
    <section aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      <table class="keys">
        <Head
          of={['Key', 'State', 'Load', 'Requests', 'Credit', ...(mayWrite ? ['Actions'] : [])]}
        />
        <tbody id="key-rows">
          {byUrgency(keys).map((key) => (
            <KeyRow keyShown={key} mayWrite={mayWrite} />
          ))}
        </tbody>
      </table>
      {mayWrite && (
        <p>
          <a class="button" href="/admin/confirm?do=refresh">
            Look up all credit now
          </a>
        </p>
      )}
    </section>
  )
}

export const rowId = (key: KeySnapshot): string => `key-${key.id}`

export function KeyRow({ keyShown: key, mayWrite }: { keyShown: KeySnapshot; mayWrite: boolean }) {
  return (
    <tr id={rowId(key)} class={standingOf(key)}>
      <th scope="row">
        {key.id} <small>{key.account}</small>
      </th>
      <td data-label="State">
        <StateWords keyShown={key} />
      </td>
      <td data-label="Load">
        <Load keyShown={key} />
      </td>
      <td data-label="Requests">
        <Totals keyShown={key} />
      </td>
      <td data-label="Credit">
        <Credit credit={key.credit} />
      </td>
      {mayWrite && (
        <td data-label="Actions">
          <Actions keyShown={key} />
        </td>
      )}
    </tr>
  )
}

function Load({ keyShown: { id, inFlight, rpmUsed, tpmUsed } }: { keyShown: KeySnapshot }) {
  return (
    <>
      {inFlight} in flight
      {rpmUsed !== null && (
        <>
          {' '}
          <Bar share={rpmUsed} label={`requests per minute used by ${id}`} />{' '}
          <small>{percentText(rpmUsed)} of rpm</small>
        </>
      )}
      {tpmUsed !== null && (
        <>
          {' '}
          <Bar share={tpmUsed} label={`tokens per minute used by ${id}`} />{' '}
          <small>{percentText(tpmUsed)} of tpm</small>
        </>
      )}
    </>
  )
}

function Totals({ keyShown: { total, latencyMs } }: { keyShown: KeySnapshot }) {
  const { attempts, failures } = total
  if (attempts === 0) return <small>none yet</small>
  return (
    <>
      {countText(attempts)}{' '}
      <small>
        {percentText(failures / attempts)} failed
        {latencyMs !== null && ` · first output ${msText(latencyMs)}`}
      </small>
    </>
  )
}

function Credit({ credit }: { credit: CreditSnapshot | null }) {
  if (credit === null) return <small>not looked up yet</small>
  const { limitUsd, remainingUsd, resetsAtMs, projectedEndMs, stale } = credit
  const isCapped = limitUsd !== null && remainingUsd !== null
  return (
    <>
      {isCapped ? `${usdText(remainingUsd)} of ${usdText(limitUsd)}` : 'no\u00a0cap'}
      {isCapped && limitUsd > 0 && (
        <>
          {' '}
          <Bar share={1 - remainingUsd / limitUsd} label="of its cap spent" />
        </>
      )}
      {resetsAtMs !== null && (
        <small>
          {' '}
          resets <Moment ms={resetsAtMs} />
        </small>
      )}
      {projectedEndMs !== null && (
        <small>
          {' '}
          at this rate spent <Moment ms={projectedEndMs} mark="until" />
        </small>
      )}
      {stale && <small class="bad"> the last lookup failed</small>}
    </>
  )
}

function Actions({ keyShown: { id, reason } }: { keyShown: KeySnapshot }) {
  const isHalted = reason === 'paused' || reason === 'draining'
  const verbs = isHalted ? ['resume', 'reset'] : ['pause', 'drain', 'reset']
  return (
    <span class="actions">
      {verbs.map((verb) => (
        <a
          href={`/admin/confirm?do=${verb}&id=${encodeURIComponent(id)}`}
          aria-label={`${verb} ${id}`}
        >
          {verb}
        </a>
      ))}
    </span>
  )
}
