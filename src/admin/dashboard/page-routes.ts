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
import { change, changePage } from './change-page.tsx'
import { eventText, liveEvents, type Telling } from './events.ts'
import { look, type Sight } from './feed.ts'
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
  routes.get('/change', ...operators, changePage)
  routes.post('/change', ...operators, form, change)
  routes.get('/api-docs', ...operators, apiDocs)
  routes.get('/', ...operators, dashboard)
}

/** `GET events` of the admin API: the whole pool, or what changes on the page. */
export function events(c: AdminContext): Response {
  return liveEvents(
    c,
    c.req.query('view') === 'page' ? pageTelling(c) : tellPool,
    c.var.signedInUntilMs,
  )
}

/**
 * What is made of a sight, made once for all who see it: twenty tabs cost what one does. Whoever is last
 * to see a sight lets it go with all that was made of it.
 */
function oncePerSight<Made>(make: (sight: Sight) => Made): (sight: Sight) => Made {
  const made = new WeakMap<Sight, { readonly value: Made }>()
  return (sight) => {
    const known = made.get(sight) ?? { value: make(sight) }
    made.set(sight, known)
    return known.value
  }
}

const tellPool = oncePerSight(({ pool, isStale }) => {
  if (isStale) return eventText('stale', {})
  return pool === null ? '' : eventText('pool', poolAnswer(pool))
})

const partsFor = (mayWrite: boolean) =>
  oncePerSight((sight) => (sight.pool === null ? null : livePartsOf(sight, sight.pool, mayWrite)))

const PARTS = { writer: partsFor(true), reader: partsFor(false) }

const orderOf = oncePerSight(({ pool }) => (pool === null ? '' : rowOrder(pool).join()))

function pageTelling({ var: { mayWrite } }: AdminContext): Telling {
  const partsOf = mayWrite ? PARTS.writer : PARTS.reader
  let before: ReadonlyMap<string, string> = new Map()
  let orderBefore = ''
  return (sight) => {
    const parts = partsOf(sight)
    if (parts === null || parts === before) return ''
    const changed = [...parts].filter(([id, html]) => before.get(id) !== html)
    const order = orderOf(sight)
    const isReordered = orderBefore !== order
    before = parts
    orderBefore = order
    if (changed.length === 0 && !isReordered) return ''
    return eventText('page', {
      parts: Object.fromEntries(changed),
      ...(isReordered ? { order: order.split(',') } : {}),
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
  const name = c.req.query('done') ?? ''
  const done = name === 'change' ? '<id> is changed.' : actionOf(name)?.action.done
  return done === undefined ? null : about(done, (c.req.query('id') ?? '').slice(0, 64))
}

function tooLarge(c: AdminContext): Response | Promise<Response> {
  return messagePage(c, gatewayError('body_too_large', 'That form is too long.'))
}
