import type { AccountOverview, BenchOverview } from '../../../balancing/operators/overview.ts'
import { REASON_WORDS } from './key-standing.ts'
import { Head } from './layout.tsx'
import { countText, Moment, plural, usdText } from './quantities.tsx'

/** More of them are well, or in the admin API. */
const MAX_SHOWN = 20

const KINDS: Readonly<Record<AccountOverview['kind'], string>> = {
  account: '',
  creator: 'all keys of one creator',
  workspace: 'all keys of one workspace',
}

/**
 * Who pays, those that are out first. An account that was made up for a single key, since nobody knows
 * yet who pays for it, says no more than its key unless it is out; nor do all keys of one creator.
 */
export function AccountsTable({ accounts }: { accounts: readonly AccountOverview[] }) {
  const known = accounts.filter(
    ({ kind, isOwn, benches }) => (kind === 'account' && !isOwn) || benches.length > 0,
  )
  if (known.length === 0) {
    return (
      <p id="account-list" class="empty">
        Nobody knows yet which keys one account pays for.
      </p>
    )
  }
  const shown = known.toSorted((a, b) => rank(a) - rank(b)).slice(0, MAX_SHOWN)
  return (
    <div id="account-list">
      <table>
        <Head of={['Account', 'State', 'Now', 'Today']} />
        <tbody>
          {shown.map((account) => (
            <Row of={account} />
          ))}
        </tbody>
      </table>
      {known.length > MAX_SHOWN && (
        <p>
          {MAX_SHOWN} of {plural(known.length, 'account')}, those that are out first. All are at{' '}
          <a href="/admin/api/pool">/admin/api/pool</a>.
        </p>
      )}
    </div>
  )
}

/** A whole account that is out, then one of which a part is. */
function rank({ benches }: AccountOverview): number {
  return benches.some(({ of }) => of === 'account') ? 0 : benches.length > 0 ? 1 : 2
}

function Row({ of: { id, kind, keys, inFlight, benches, today } }: { of: AccountOverview }) {
  return (
    <tr>
      <th scope="row">
        {id} <small>{KINDS[kind] || plural(keys.length, 'key')}</small>
      </th>
      <td data-label="State">
        {benches.length === 0 ? (
          <span class="badge well">usable</span>
        ) : (
          benches.map((bench) => <BenchWords of={bench} />)
        )}
      </td>
      <td data-label="Now">{inFlight} in flight</td>
      <td data-label="Today">
        {countText(today.attempts)} <small>{usdText(today.costUsd)}</small>
      </td>
    </tr>
  )
}

function BenchWords({ of: { of, model, reason, untilMs } }: { of: BenchOverview }) {
  const isWhole = of === 'account'
  return (
    <div>
      <span class={`badge ${isWhole ? 'out' : 'expiring'}`}>{REASON_WORDS[reason][0]}</span>{' '}
      {!isWhole && <small>for {model ?? 'free models'} </small>}
      {untilMs === null ? (
        <small>until a lookup finds it well</small>
      ) : (
        <span class="until">
          until <Moment ms={untilMs} mark="until" />
        </span>
      )}
    </div>
  )
}
