import type { RequestRow } from '../../../balancing/accounting/request-row.ts'
import type { PoolOverview } from '../../../balancing/operators/overview.ts'
import { clientAnswer, groupAnswer } from '../../client-answers.ts'
import type { ExplainAnswer } from '../../pool/explain-answer-schema.ts'
import type { Sight } from '../feed.ts'
import { AccountsTable } from './accounts-table.tsx'
import { AddressesTable } from './addresses-table.tsx'
import { BatchesTable } from './batches-view.tsx'
import { ClientsTable, NewClientForm } from './clients-view.tsx'
import { type ExplainFields, ExplainForm, ExplainResult } from './explain-view.tsx'
import { Headline } from './headline.tsx'
import { byUrgency } from './key-standing.ts'
import { KeyRow, KeysTable, rowId } from './keys-table.tsx'
import { documentOf, Layout } from './layout.tsx'
import { QueueTable } from './queue-view.tsx'
import { FindForm, FoundRequests, RequestsTable } from './requests-view.tsx'
import { Traffic } from './traffic-view.tsx'

/** All that stands on the dashboard. */
export interface Shown {
  readonly operator: string
  readonly mayWrite: boolean
  readonly sight: Sight
  readonly pool: PoolOverview
  readonly explain: {
    readonly fields: ExplainFields
    /** What a request would get, or why that cannot be told; null if nobody asked. */
    readonly explanation: ExplainAnswer | { readonly fault: string } | null
  }
  /** A request that is looked for by its id, and what was found; null if none is. */
  readonly search: { readonly id: string; readonly found: readonly RequestRow[] } | null
  /** What was just done, in words. */
  readonly done: string | null
}

export function dashboardPage(shown: Shown): string {
  const { operator, mayWrite, sight, pool, explain, search, done } = shown
  return documentOf(
    <Layout title="Dashboard" operator={operator} script="dashboard.js">
      {done !== null && (
        <p class="note" role="status">
          {done}
        </p>
      )}
      <Headline sight={sight} pool={pool} />
      <PlacesOfPage />
      <KeysTable keys={pool.keys} mayWrite={mayWrite} />
      <section aria-labelledby="accounts">
        <h2 id="accounts">Accounts</h2>
        <AccountsTable accounts={pool.accounts} />
      </section>
      <section aria-labelledby="queue">
        <h2 id="queue">Queue</h2>
        <QueueTable queue={pool.queue} />
      </section>
      <section aria-labelledby="batches">
        <h2 id="batches">Batches</h2>
        <BatchesTable batches={pool.batches} />
      </section>
      <section aria-labelledby="alerts">
        <h2 id="alerts">Alerts</h2>
        <AddressesTable addresses={sight.addresses} mayWrite={mayWrite} />
      </section>
      <section aria-labelledby="traffic">
        <h2 id="traffic">Last hour</h2>
        <Traffic history={sight.history} />
      </section>
      <section aria-labelledby="requests">
        <h2 id="requests">Last requests</h2>
        <FindForm id={search?.id ?? ''} />
        {search !== null && <FoundRequests rows={search.found} />}
        <RequestsTable rows={sight.requests} id="last-requests" />
      </section>
      <section aria-labelledby="clients">
        <h2 id="clients">Clients and budgets</h2>
        <Clients pool={pool} mayWrite={mayWrite} />
        {mayWrite && <NewClientForm />}
      </section>
      <section aria-labelledby="explain">
        <h2 id="explain">Why that key?</h2>
        <ExplainForm fields={explain.fields} />
        <Explained explanation={explain.explanation} />
      </section>
      <footer>
        <a href="/admin/api-docs">The admin API</a>
      </footer>
    </Layout>,
  )
}

function Explained({ explanation }: Pick<Shown['explain'], 'explanation'>) {
  if (explanation === null) return null
  if ('fault' in explanation) return <p class="note bad">{explanation.fault}</p>
  return <ExplainResult explanation={explanation} />
}

/** Two hundred keys have six hundred links: nobody is to walk past them by the Tab key. */
function PlacesOfPage() {
  const places = [
    ['keys', 'Keys'],
    ['accounts', 'Accounts'],
    ['queue', 'Queue'],
    ['batches', 'Batches'],
    ['alerts', 'Alerts'],
    ['traffic', 'Last hour'],
    ['requests', 'Requests'],
    ['clients', 'Clients'],
    ['explain', 'Why that key?'],
  ] as const
  return (
    <nav aria-label="On this page">
      {places.map(([id, name]) => (
        <a href={`#${id}`}>{name}</a>
      ))}
    </nav>
  )
}

function Clients({ pool, mayWrite }: { pool: PoolOverview; mayWrite: boolean }) {
  return (
    <ClientsTable
      clients={pool.clients.map(clientAnswer)}
      groups={pool.groups.map(groupAnswer)}
      clientCount={pool.clientCount}
      mayWrite={mayWrite}
    />
  )
}

/** The parts of the page that change by themselves, as they are now, by the id of their element. */
export function livePartsOf(
  sight: Sight,
  pool: PoolOverview,
  mayWrite: boolean,
): ReadonlyMap<string, string> {
  return new Map([
    ['headline', String(<Headline sight={sight} pool={pool} />)],
    ['account-list', String(<AccountsTable accounts={pool.accounts} />)],
    ['queue-lanes', String(<QueueTable queue={pool.queue} />)],
    ['batch-list', String(<BatchesTable batches={pool.batches} />)],
    ['alert-addresses', String(<AddressesTable addresses={sight.addresses} mayWrite={mayWrite} />)],
    ['plots', String(<Traffic history={sight.history} />)],
    ['last-requests', String(<RequestsTable rows={sight.requests} id="last-requests" />)],
    ['client-list', String(<Clients pool={pool} mayWrite={mayWrite} />)],
    ...pool.keys.map(
      (key) => [rowId(key), String(<KeyRow keyShown={key} mayWrite={mayWrite} />)] as const,
    ),
  ])
}

/** The rows of the table of keys in their order. */
export function rowOrder(pool: PoolOverview): readonly string[] {
  return byUrgency(pool.keys).map(rowId)
}
