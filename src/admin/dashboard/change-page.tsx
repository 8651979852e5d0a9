import { SPEND_PERIODS, type SpendPeriod } from '../../balancing/limits/quota-charge.ts'
import type { AdminContext } from '../admin-request.ts'
import type { ClientAnswer, GroupAnswer, UsedBudget } from '../answer-schemas.ts'
import { changeOwner, increaseBudget, type Owner, resetBudget, viewOf } from '../client-routes.ts'
import { formFields } from './form-fields.ts'
import { messagePageOf } from './message-page.tsx'
import { documentOf, Layout } from './views/layout.tsx'
import { Moment, usdText } from './views/quantities.tsx'

const NUMBERS = [
  ['rpm', 'Requests a minute'],
  ['tpm', 'Tokens a minute'],
  ['rpd', 'Requests a day'],
  ['max_concurrent', 'At once'],
] as const

const PERIODS: Readonly<Record<SpendPeriod, string>> = {
  day: 'USD a day',
  week: 'USD a week',
  month: 'USD a month',
  total: 'USD in all',
}

/** Limits and budgets of one client or group, to be changed. */
export async function changePage(c: AdminContext): Promise<Response> {
  const owner = ownerOf((name) => c.req.query(name) ?? '')
  const view = await viewOf(c, owner)
  if (view instanceof Response) return await messagePageOf(c, view)
  return c.html(
    documentOf(
      <Layout title={owner.id} operator={c.var.operator}>
        <section class="narrow">
          <h1>
            The {owner.kind} {owner.id}
          </h1>
          {view.source === 'made' ? (
            <LimitsForm owner={owner} view={view} />
          ) : (
            <p>Its limits stand in the secret CLIENT_KEYS, and can be changed there only.</p>
          )}
          {view.budgets.map((budget) => (
            <BudgetForms owner={owner} budget={budget} />
          ))}
          <p>
            <a href="/admin#clients">Back to the dashboard</a>
          </p>
        </section>
      </Layout>,
    ),
  )
}

function LimitsForm({ owner, view }: { owner: Owner; view: ClientAnswer | GroupAnswer }) {
  return (
    <form method="post" action="/admin/change" class="fields">
      <Hidden owner={owner} what="limits" />
      {'group' in view && (
        <label>
          Group <input name="group" maxlength={64} value={view.group ?? ''} autocomplete="off" />
        </label>
      )}
      {NUMBERS.map(([name, label]) => (
        <label>
          {label} <input name={name} type="number" min={1} value={view[name] ?? ''} />
        </label>
      ))}
      {SPEND_PERIODS.map((period) => (
        <label>
          {PERIODS[period]}{' '}
          <input
            name={period}
            type="number"
            min={0}
            step="any"
            value={budgetOf(view, period)?.usd ?? ''}
          />
        </label>
      ))}
      <label>
        Ends (UTC){' '}
        <input
          name="expires_at"
          type="datetime-local"
          value={view.expires_at?.slice(0, 16) ?? ''}
        />
      </label>
      <p>An empty field is no limit.</p>
      <button type="submit">Change it</button>
    </form>
  )
}

function BudgetForms({ owner, budget }: { owner: Owner; budget: UsedBudget }) {
  const { period, spent_usd, limit_usd, lost_usd, increase } = budget
  return (
    <>
      <h2>
        {usdText(spent_usd)} of {usdText(limit_usd)} {PERIODS[period].slice(4)} spent
      </h2>
      <p>
        {lost_usd > 0 && `${usdText(lost_usd)} held for requests that ended without a word. `}
        {increase !== null && (
          <>
            {usdText(increase.usd)} more until <Moment ms={Date.parse(increase.until)} />.
          </>
        )}
      </p>
      <form method="post" action="/admin/change" class="fields">
        <Hidden owner={owner} what="increase" period={period} />
        <label>
          More, in USD <input name="usd" type="number" min={0} step="any" required />
        </label>
        <label>
          until (UTC) <input name="until" type="datetime-local" required />
        </label>
        <button type="submit">Grant it</button>
      </form>
      <form method="post" action="/admin/change" class="fields">
        <Hidden owner={owner} what="reset" period={period} />
        <button type="submit" class="danger">
          Forget what was spent
        </button>
      </form>
    </>
  )
}

function Hidden({ owner, what, period = '' }: { owner: Owner; what: string; period?: string }) {
  return (
    <>
      {Object.entries({ ...owner, what, period }).map(([name, value]) => (
        <input type="hidden" name={name === 'period' ? 'of' : name} value={value} />
      ))}
    </>
  )
}

/** Changes what a form of the page says, and goes back to it. */
export async function change(c: AdminContext): Promise<Response> {
  const field = await formFields(c)
  const owner = ownerOf(field)
  const response = await carriedOut(c, owner, field)
  if (!response.ok) return await messagePageOf(c, response)
  return c.redirect(`/admin?${new URLSearchParams({ done: 'change', id: owner.id })}`, 303)
}

type Field = (name: string) => string

async function carriedOut(c: AdminContext, owner: Owner, field: Field): Promise<Response> {
  switch (field('what')) {
    case 'reset':
      return await resetBudget(c, owner, field('of'))
    case 'increase':
      return await increaseBudget(c, owner, field('of'), {
        usd: Number(field('usd')),
        until: momentOf(field('until')),
      })
    default: {
      const view = await viewOf(c, owner)
      return view instanceof Response ? view : await changeOwner(c, owner, changesOf(view, field))
    }
  }
}

/** What the form has otherwise than it is: whoever changes one thing must not undo another's change. */
function changesOf(view: ClientAnswer | GroupAnswer, field: Field): object {
  const given = (name: string) => (field(name) === '' ? null : field(name))
  const numbers = NUMBERS.map(([name]) => {
    return [name, view[name], given(name) && Number(given(name))] as const
  })
  const endsAt = view.expires_at?.slice(0, 16) ?? null
  const fields = [
    ...numbers,
    ...('group' in view ? [['group', view.group, given('group')] as const] : []),
    ['expires_at', endsAt, given('expires_at')] as const,
  ]
  const changed = fields.flatMap(([name, before, after]) =>
    before === after ? [] : [[name, name === 'expires_at' && after ? momentOf(`${after}`) : after]],
  )
  const isSame = SPEND_PERIODS.every(
    (period) => `${budgetOf(view, period)?.usd ?? ''}` === field(period),
  )
  return { ...Object.fromEntries(changed), ...(isSame ? {} : { budget: budgetsOf(view, field) }) }
}

/** A budget that was there keeps its mode and the rest. */
function budgetsOf(view: ClientAnswer | GroupAnswer, field: Field): object[] | null {
  const budgets = SPEND_PERIODS.flatMap((period) => {
    if (field(period) === '') return []
    const used = budgetOf(view, period)
    return [{ ...(used === undefined ? {} : termsOf(used)), usd: Number(field(period)), period }]
  })
  return budgets.length === 0 ? null : budgets
}

function termsOf(used: UsedBudget): object {
  const { limit_usd, spent_usd, reserved_usd, lost_usd, left_usd, resets_at, increase, ...terms } =
    used
  return Object.fromEntries(Object.entries(terms).filter(([, value]) => value !== null))
}

const budgetOf = ({ budgets }: ClientAnswer | GroupAnswer, of: SpendPeriod) =>
  budgets.find(({ period }) => period === of)

const ownerOf = (field: Field): Owner => ({
  kind: field('kind') === 'group' ? 'group' : 'client',
  id: field('id'),
})

/** A form's moment is without a zone; the page says that it is UTC. */
const momentOf = (text: string): string => (text === '' ? text : `${text.slice(0, 16)}:00Z`)
