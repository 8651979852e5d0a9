import type { ClientAnswer, GroupAnswer, UsedBudget } from '../../answer-schemas.ts'
import { Head } from './layout.tsx'
import { Bar, countText, Moment, percentText, plural, usdText } from './quantities.tsx'

interface Shown {
  readonly clients: readonly ClientAnswer[]
  readonly groups: readonly GroupAnswer[]
  /** Of all, since the busiest are shown. */
  readonly clientCount: number
}

/** Clients and groups with their limits and budgets. */
export function ClientsTable({
  clients,
  groups,
  clientCount,
  mayWrite,
}: Shown & { mayWrite: boolean }) {
  if (clients.length + groups.length === 0) {
    return (
      <p id="client-list" class="empty">
        There are no clients yet.
      </p>
    )
  }
  return (
    <div id="client-list">
      <table>
        <Head of={['Client', 'Now', 'Budgets', ...(mayWrite ? ['Actions'] : [])]} />
        <tbody>
          {groups.map((group) => (
            <Row of={group} kind="group" note={null} mayWrite={mayWrite} />
          ))}
          {clients.map((client) => (
            <Row of={client} kind="client" note={client.group} mayWrite={mayWrite} />
          ))}
        </tbody>
      </table>
      {clientCount > clients.length && (
        <p>
          The {clients.length} that use the most, of {plural(clientCount, 'client')}. All are at{' '}
          <a href="/admin/api/clients">/admin/api/clients</a>.
        </p>
      )}
    </div>
  )
}

interface RowOf {
  readonly of: ClientAnswer | GroupAnswer
  readonly kind: 'client' | 'group'
  readonly note: string | null
  readonly mayWrite: boolean
}

function Row({ of, kind, note, mayWrite }: RowOf) {
  const { id, source, in_flight, requests_today, requests_in_minute, rpm, expires_at } = of
  return (
    <tr>
      <th scope="row">
        {id} <small>{kind === 'group' ? 'group' : (note ?? '')}</small>
      </th>
      <td data-label="Now">
        {in_flight} in flight <small>{countText(requests_today)} today</small>
        {rpm !== null && (
          <small>
            {' · '}
            {requests_in_minute ?? 0} of {rpm} rpm
          </small>
        )}
        {expires_at !== null && (
          <small>
            {' · '}
            ends <Moment ms={Date.parse(expires_at)} mark="until" />
          </small>
        )}
      </td>
      <td data-label="Budgets">
        {of.budgets.length === 0 ? (
          <small>none</small>
        ) : (
          of.budgets.map((each) => BudgetLine(each, id))
        )}
      </td>
      {mayWrite && (
        <td data-label="Actions">
          <Actions id={id} kind={kind} isMade={source === 'made'} />
        </td>
      )}
    </tr>
  )
}

function BudgetLine(
  { period, limit_usd, spent_usd, reserved_usd, resets_at }: UsedBudget,
  id: string,
) {
  const share = limit_usd > 0 ? (spent_usd + reserved_usd) / limit_usd : 1
  return (
    <div>
      {usdText(spent_usd)} of {usdText(limit_usd)} a {period}{' '}
      <Bar share={share} label={`of the ${period}’s budget of ${id} used`} />{' '}
      <small>
        {percentText(share)}
        {reserved_usd > 0 && `, ${usdText(reserved_usd)} held by running requests`}
        {resets_at !== null && (
          <>
            {' · '}
            resets <Moment ms={Date.parse(resets_at)} />
          </>
        )}
      </small>
    </div>
  )
}

function Actions({ id, kind, isMade }: { id: string; kind: 'client' | 'group'; isMade: boolean }) {
  const name = encodeURIComponent(id)
  const link = (verb: string, href: string) => (
    <a href={`/admin/${href}&id=${name}`} aria-label={`${verb} ${kind} ${id}`}>
      {verb}
    </a>
  )
  return (
    <span class="actions">
      {link('change', `change?kind=${kind}`)}
      {isMade && kind === 'client' && link('new token', 'confirm?do=rotate')}
      {isMade && link('remove', `confirm?do=${kind === 'client' ? 'revoke' : 'remove_group'}`)}
      {!isMade && <small>in CLIENT_KEYS</small>}
    </span>
  )
}

/** Works without a script: the answer is a page that shows the token. */
export function NewClientForm() {
  return (
    <form method="post" action="/admin/clients" class="fields">
      <label>
        Name <input name="id" required maxlength={64} autocomplete="off" placeholder="my-app" />
      </label>
      <label>
        Group <input name="group" maxlength={64} autocomplete="off" placeholder="none" />
      </label>
      <label>
        Requests a minute <input name="rpm" type="number" min={1} placeholder="no limit" />
      </label>
      <label>
        Budget in USD <input name="usd" type="number" min={0} step="any" placeholder="no limit" />
      </label>
      <label>
        a{' '}
        <select name="period">
          {['day', 'week', 'month', 'total'].map((period) => (
            <option value={period} selected={period === 'month'}>
              {period}
            </option>
          ))}
        </select>
      </label>
      <button type="submit">Make a client</button>
    </form>
  )
}
