import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { chargeReport } from './charge-book.ts'
import { FAULT_NAMES } from './faults.ts'
import { type Rule, ruleSchema } from './rules.ts'
import { scriptSchema } from './scripts.ts'
import type { Simulation } from './visit.ts'
import {
  accountSchema,
  defaultWorld,
  keySchema,
  settingsSchema,
  type World,
  worldSchema,
} from './world.ts'

/** The current simulation, and how to begin another. */
export interface Stage {
  current(): Simulation
  reset(world: World): void
}

type Read<T> = { ok: true; value: T } | { ok: false; response: Response }

/**
 * The control API, under /control, JSON in and out, without credentials:
 *
 * - `GET /`: what there is to try, and this list
 * - `POST reset`, with `{accounts, keys, settings}` or nothing for the default world: also clears
 *   rules, scripts, log and counters, and breaks off all open requests
 * - `GET world`: the current world, in the form that `reset` accepts
 * - `PATCH accounts/:id`, `PATCH keys/:name`, `PATCH settings`: changes the given fields and
 *   answers with the whole object
 * - `GET faults`: the names of all faults
 * - `POST rules` `{fault, params?, match?: {key?, account?, model?, path?}, times?, probability?}`:
 *   answers 201 with its `id`; the first rule that strikes wins. `GET rules`, `DELETE rules[/:id]`
 * - `PUT scripts/:name` `{status?, headers?, chunks: [{text | base64, delayMs?}], end?}`: the model
 *   `script/<name>` answers exactly with this script
 * - `GET log?since=<seq>`: `{entries}`, oldest first
 * - `GET charges`: what was charged, in whole nano-dollars: in total, by key, account, model and
 *   generation id, and each charge
 * - `GET stats`: counters of inference requests, in total and per key, and of all requests per path
 *
 * A request for the model `sim/<fault>` gets this fault. With `sim/<fault>@<key>` it gets the fault
 * only if this key serves. Parameters may follow the fault as `?ms=200&…`.
 *
 * A bad body gets 400 `{error: {message}}`; an unknown name gets 404.
 */
export function control(stage: Stage): Hono {
  const app = new Hono()
  app.get('/', (context) => context.json(guide(new URL(context.req.url).origin)))
  app.post('/reset', async (context) => {
    const read = await readBody(context, worldSchema.transform(withKnownOutage), defaultWorld)
    if (!read.ok) return read.response
    stage.reset(read.value)
    return context.json(stage.current().world)
  })
  app.get('/world', (context) => context.json(stage.current().world))
  patches(app, stage)
  app.get('/faults', (context) => context.json(FAULT_NAMES))
  rules(app, stage)
  app.put('/scripts/:name', async (context) => {
    const read = await readBody(context, scriptSchema)
    if (!read.ok) return read.response
    stage.current().scripts.set(context.req.param('name'), read.value)
    return context.json(read.value)
  })
  app.get('/log', (context) => {
    const since = Number(context.req.query('since') ?? 0)
    if (!Number.isFinite(since)) return refuse(context, 400, 'since: a sequence number')
    return context.json({ entries: stage.current().journal.since(since) })
  })
  app.get('/charges', (context) => context.json(chargeReport(stage.current().charges)))
  app.get('/stats', (context) => context.json(stage.current().journal.stats))
  app.all('*', (context) =>
    refuse(context, 404, 'The control API has no such path. GET /control lists those that it has.'),
  )
  return app
}

/** What somebody who opens the address for the first time can do with it. */
function guide(origin: string) {
  return {
    what: 'A simulated OpenRouter. Nothing here costs money.',
    faults_by_model:
      'Ask the gateway for the model sim/<fault>, and every key fails so; for sim/<fault>@alpha, and only the key alpha does. Parameters may follow: sim/slow-headers?ms=500',
    faults: FAULT_NAMES,
    paths: {
      'GET /control/world': 'accounts, keys, settings',
      'PATCH /control/keys/<name>': 'for example {"disabled": true}: the key is revoked',
      'PATCH /control/accounts/<id>': 'for example {"balanceUsd": 0}: out of credit',
      'PATCH /control/settings': 'for example {"ttftMs": 2000}: slow first tokens',
      'POST /control/rules':
        'for example {"fault": "plain-429", "match": {"key": "beta"}, "times": 3}',
      'GET, DELETE /control/rules': 'the rules; DELETE /control/rules/<id> for one',
      'PUT /control/scripts/<name>': 'the exact bytes that the model script/<name> answers with',
      'GET /control/log?since=<seq>': 'the requests that came, with key, status and cost',
      'GET /control/stats': 'how many',
      'GET /control/charges': 'what was charged, in nano-dollars',
      'GET /control/faults': 'the names of all faults',
      'POST /control/reset': 'back to the beginning',
    },
    try: [
      `curl -X PATCH ${origin}/control/keys/alpha -d '{"disabled":true}'`,
      `curl -X POST ${origin}/control/rules -d '{"fault":"cut-before-output","match":{"key":"beta"}}'`,
      `curl ${origin}/control/stats`,
      `curl -X POST ${origin}/control/reset`,
    ],
  }
}

function patches(app: Hono, stage: Stage): void {
  app.patch('/accounts/:id', async (context) => {
    const { accounts } = stage.current().world
    const account = accounts.find((candidate) => candidate.id === context.req.param('id'))
    if (account === undefined) return refuse(context, 404, 'There is no such account.')
    const same = accountSchema.extend({ id: z.literal(account.id) })
    const read = await readBody(context, patchOf(account, same))
    if (!read.ok) return read.response
    return context.json(Object.assign(account, read.value))
  })
  app.patch('/keys/:name', async (context) => {
    const { keys, accounts } = stage.current().world
    const key = keys.find((candidate) => candidate.name === context.req.param('name'))
    if (key === undefined) return refuse(context, 404, 'There is no such key.')
    const known = z.enum(accounts.map((account) => account.id))
    const same = keySchema.extend({ name: z.literal(key.name), accountId: known })
    const read = await readBody(context, patchOf(key, same))
    if (!read.ok) return read.response
    return context.json(Object.assign(key, read.value))
  })
  app.patch('/settings', async (context) => {
    const { settings } = stage.current().world
    const read = await readBody(context, patchOf(settings, settingsSchema))
    if (!read.ok) return read.response
    const unknown = unknownOutage(read.value.outage?.fault)
    if (unknown !== null) return refuse(context, 400, unknown)
    return context.json(Object.assign(settings, read.value))
  })
}

function rules(app: Hono, stage: Stage): void {
  app.get('/rules', (context) => context.json(stage.current().rules))
  app.post('/rules', async (context) => {
    const read = await readBody(context, ruleSchema)
    if (!read.ok) return read.response
    const list = stage.current().rules
    const rule: Rule = { id: (list.at(-1)?.id ?? 0) + 1, rule: read.value, struck: 0 }
    list.push(rule)
    return context.json(rule, 201)
  })
  app.delete('/rules', (context) => {
    stage.current().rules.length = 0
    return context.body(null, 204)
  })
  app.delete('/rules/:id', (context) => {
    const list = stage.current().rules
    const index = list.findIndex((rule) => String(rule.id) === context.req.param('id'))
    if (index === -1) return refuse(context, 404, 'There is no such rule.')
    list.splice(index, 1)
    return context.body(null, 204)
  })
}

/** Applies the patch and then checks the whole object, so a misspelt field is an error. */
function patchOf<Schema extends z.ZodType<object, unknown>>(current: object, schema: Schema) {
  return z
    .record(z.string(), z.unknown())
    .transform((patch): unknown => ({ ...current, ...patch }))
    .pipe(schema)
}

function unknownOutage(fault: string | undefined): string | null {
  if (fault === undefined || FAULT_NAMES.includes(fault)) return null
  return `outage.fault: there is no fault "${fault}"`
}

function withKnownOutage(world: World, context: z.RefinementCtx): World {
  const message = unknownOutage(world.settings.outage?.fault)
  if (message !== null) context.addIssue({ code: 'custom', message })
  return world
}

async function readBody<Output>(
  context: Context,
  schema: z.ZodType<Output>,
  whenEmpty?: () => Output,
): Promise<Read<Output>> {
  const text = await context.req.text()
  if (text === '' && whenEmpty !== undefined) return { ok: true, value: whenEmpty() }
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return { ok: false, response: refuse(context, 400, 'The body is not JSON.') }
  }
  const parsed = schema.safeParse(body)
  if (parsed.success) return { ok: true, value: parsed.data }
  return { ok: false, response: refuse(context, 400, z.prettifyError(parsed.error)) }
}

function refuse(context: Context, status: 400 | 404, message: string): Response {
  return context.json({ error: { message } }, status)
}
