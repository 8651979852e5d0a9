import type { Explanation } from '../../balancing/explanation.ts'
import type { PoolSnapshot } from '../../balancing/snapshot.ts'
import type { ClientAnswer, GroupAnswer } from '../answer-schemas.ts'
import { ClientsTable, NewClientForm } from './clients-view.tsx'
import { type ExplainFields, ExplainForm, ExplainResult } from './explain-view.tsx'
import type { Sight } from './feed.ts'
import { Headline } from './headline.tsx'
import { KeyRow, KeysTable, rowId } from './keys-table.tsx'
import { documentOf, Layout } from './layout.tsx'
import { byUrgency } from './urgency.ts'

/** All that stands on the dashboard. */
export interface Shown {
  readonly operator: string
  readonly mayWrite: boolean
  readonly sight: Sight
  readonly pool: PoolSnapshot
  readonly clients: {
    readonly clients: readonly ClientAnswer[]
    readonly groups: readonly GroupAnswer[]
  }
  readonly explain: { readonly fields: ExplainFields; readonly explanation: Explanation | null }
  /** What was just done, in words. */
  readonly done: string | null
}

export function dashboardPage(shown: Shown): string {
  const { operator, mayWrite, sight, pool, clients, explain, done } = shown
  return documentOf(
    <Layout title="Dashboard" operator={operator} script="dashboard.js">
      {done !== null && (
        <p class="note" role="status">
          {done}
        </p>
      )}
      <Headline sight={sight} pool={pool} />
      <KeysTable keys={pool.keys} mayWrite={mayWrite} />
      <section aria-labelledby="clients">
        <h2 id="clients">Clients and budgets</h2>
        <ClientsTable {...clients} clientCount={clients.clients.length} mayWrite={mayWrite} />
        {mayWrite && <NewClientForm />}
      </section>
      <section aria-labelledby="explain">
        <h2 id="explain">Why that key?</h2>
        <ExplainForm fields={explain.fields} />
        {explain.explanation !== null && <ExplainResult explanation={explain.explanation} />}
      </section>
      <footer>
        <a href="/admin/api-docs">The admin API</a>
      </footer>
    </Layout>,
  )
}

/** The parts of the page that change by themselves, as they are now, by the id of their element. */
export function livePartsOf(
  sight: Sight,
  pool: PoolSnapshot,
  mayWrite: boolean,
): ReadonlyMap<string, string> {
  return new Map([
    ['headline', String(<Headline sight={sight} pool={pool} />)],
    ...pool.keys.map(
      (key) => [rowId(key), String(<KeyRow keyShown={key} mayWrite={mayWrite} />)] as const,
    ),
  ])
}

/** The rows of the table of keys in their order. */
export function rowOrder(pool: PoolSnapshot): readonly string[] {
  return byUrgency(pool.keys).map(rowId)
}
