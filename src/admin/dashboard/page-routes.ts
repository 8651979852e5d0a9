import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { HonoBase } from 'hono/hono-base'
import { MAX_REQUEST_ID_LENGTH } from '../../balancing/accounting/request-row.ts'
import { gatewayError, poolUnavailable } from '../../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { logged } from '../../http/error-response.ts'
import { explainQuestion } from '../pool/explain-route.ts'
import { poolAnswer } from '../pool/pool-answers.ts'
import { confirmPage, doAction, makeClient } from './action-pages.tsx'
import { about, actionOf } from './actions.ts'
import { apiDocs } from './api-docs-page.tsx'
import { asset } from './assets.ts'
import { eventText, liveEvents, type Telling } from './events.ts'
import { look } from './feed.ts'
import { faultOf, messagePage } from './message-page.tsx'
import {
  operatorsOnly,
  signInByForm,
  signInForm,
  signOut,
  whereOperatorsAre,
} from './sign-in-pages.tsx'
import { dashboardPage, livePartsOf, rowOrder } from './views/dashboard-page.tsx'

type AdminContext = Context<HttpEnvironment>

/** A form has some short fields. */
const MAX_FORM_BYTES = 16 * 1024

/** The operators' pages. Without a script each form still works. */
export function pageRoutes(routes: HonoBase<HttpEnvironment>): void {
  const form = bodyLimit({ maxSize: MAX_FORM_BYTES, onError: tooLarge })
  routes.get('/assets/:name', asset)
  routes.get('/sign-in', logged, whereOperatorsAre, signInForm)
  routes.post('/sign-in', logged, whereOperatorsAre, form, signInByForm)
  routes.post('/sign-out', logged, whereOperatorsAre, signOut)
  const operators = [logged, whereOperatorsAre, operatorsOnly] as const
  routes.get('/confirm', ...operators, confirmPage)
  routes.post('/do', ...operators, form, doAction)
  routes.post('/clients', ...operators, form, makeClient)
  routes.get('/api-docs', ...operators, apiDocs)
  routes.get('/', ...operators, dashboard)
}

/** `GET events` of the admin API: the whole pool, or what changes on the page. */
export function events(c: AdminContext): Response {
  return liveEvents(
    c,
    c.req.query('view') === 'page' ? pageTelling(c) : poolTelling(),
    c.var.signedInUntilMs,
  )
}

function poolTelling(): Telling {
  return ({ pool, isStale }) => {
    if (isStale) return eventText('stale', {})
    return pool === null ? '' : eventText('pool', poolAnswer(pool))
  }
}

function pageTelling({ var: { mayWrite } }: AdminContext): Telling {
  let before: ReadonlyMap<string, string> = new Map()
  let orderBefore = ''
  return (sight) => {
    if (sight.pool === null) return ''
    const parts = livePartsOf(sight, sight.pool, mayWrite)
    const changed = [...parts].filter(([id, html]) => before.get(id) !== html)
    const order = rowOrder(sight.pool)
    const isReordered = orderBefore !== order.join()
    before = parts
    orderBefore = order.join()
    if (changed.length === 0 && !isReordered) return ''
    return eventText('page', {
      parts: Object.fromEntries(changed),
      ...(isReordered ? { order } : {}),
    })
  }
}

async function dashboard(c: AdminContext): Promise<Response> {
  const { gateway, operator, mayWrite } = c.var
  const [sight, search, explain] = await Promise.all([
    look(gateway, true),
    searchOf(c),
    explainOf(c),
  ])
  const { pool } = sight
  if (pool === null) return await messagePage(c, poolUnavailable(UNREACHABLE))
  const page = dashboardPage({
    operator,
    mayWrite,
    sight,
    pool,
    explain,
    search,
    done: doneText(c),
  })
  return c.html(page)
}

/** The form's fields, and what they ask for. An empty field is none. */
async function explainOf(c: AdminContext) {
  const field = (name: string) => c.req.query(name)?.trim() ?? ''
  const fields = {
    model: field('model'),
    client: field('client'),
    conversation: field('conversation'),
  }
  if (fields.model === '') return { fields, explanation: null }
  const given = Object.entries(fields).filter(([, value]) => value !== '')
  const explanation = await explainQuestion(c, Object.fromEntries(given))
  if (!(explanation instanceof Response)) return { fields, explanation }
  return { fields, explanation: { fault: await faultOf(explanation) } }
}

async function searchOf(c: AdminContext) {
  const id = c.req.query('request')?.trim().slice(0, MAX_REQUEST_ID_LENGTH) ?? ''
  if (id === '') return null
  const answer = await c.var.gateway.pool.requests({ id, limit: 10 })
  return { id, found: answer.kind === 'answer' ? answer.value.requests : [] }
}

const UNREACHABLE =
  'The pool’s object does not answer now. Requests may go on without it. Try again.'

/** What was just done. A link may say so too: it is words of a closed list about a name. */
function doneText(c: AdminContext): string | null {
  const done = actionOf(c.req.query('done') ?? '')
  return done === null ? null : about(done.action.done, (c.req.query('id') ?? '').slice(0, 64))
}

function tooLarge(c: AdminContext): Response | Promise<Response> {
  return messagePage(c, gatewayError('body_too_large', 'That form is too long.'))
}
