import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ExchangeReply, ExchangeRequest } from '../../src/key-pool/protocol.ts'
import { TOKEN, until } from './harness.ts'
import {
  type GatewayProcess,
  listen,
  type Message,
  type SharedPool,
  startSharedPool,
  textOf,
} from './pool-processes.ts'

/**
 * Several processes with a Worker each share one pool. Together they keep every limit. What a process
 * holds that is ended by SIGKILL, so that it can say nothing more, is free again within three seconds,
 * whatever it was about to do.
 */

/** Where in a request its process dies. Each has a key of its own, which takes one request at a time. */
const STAGES = ['granted', 'called', 'streaming', 'settling'] as const

type Stage = (typeof STAGES)[number]

/** The key of a process with so many requests that it holds leases ahead. */
const BUSY = 'busy'

const RPM = 10_000

/** Processes beside that of the object that use the shared keys. */
const OTHERS = ['second', 'third'] as const

/** Three seconds, and what a machine with other things to do takes for the rest. */
const FREE_WITHIN_MS = 3_000 + 2_000

const victims = new Map<string, GatewayProcess>()
const killedAtMs = new Map<string, number>()

function kill(name: string): void {
  if (killedAtMs.has(name)) return
  killedAtMs.set(name, Date.now())
  victims.get(name)?.kill()
}

/** What happens to requests at the upstream. It is told by a header that the gateway forwards. */
type Fate = 'answered' | 'never' | 'begun'

interface Call {
  readonly model: string
  readonly fate: string
  readonly key: string
  readonly atMs: number
  /** How many calls the key had then, this one included. */
  readonly open: number
}

/** Keys that three processes share. */
const SHARED = {
  narrow: { max_concurrent: 4, rpm: 30 },
  metered: { max_concurrent: 40, tpm: 1_000 },
  wide: { max_concurrent: 9 },
} as const

const SHARED_MODEL = 'shared'
const ANSWER_MS = 60
const FAULT_EVERY = 15

const calls: Call[] = []
let areBeginsLost = false
let begun = 0

/** The leases of the busy process that the object knows to have a request. */
const known = new Set<string>()

function isLost(message: Message): boolean {
  const { from } = message
  if (killedAtMs.has(from)) return true
  if (message.kind === 'answer') noteAnswer(from, message.exchange)
  else if (isCallLost(from, message.exchange)) return true
  return killedAtMs.has(from)
}

function noteAnswer(from: string, { decisions }: ExchangeReply): void {
  const grants = decisions.filter(({ kind }) => kind === 'grant')
  if (from === 'granted' && grants.length > 0) kill(from)
  if (from !== BUSY) return
  for (const grant of grants) if (grant.kind === 'grant') known.add(grant.leaseId)
}

function isCallLost(from: string, { begins = [], settlements }: ExchangeRequest): boolean {
  if (from === 'settling' && settlements.length > 0) kill(from)
  if (from !== BUSY) return false
  if (areBeginsLost && begins.length > 0) return true
  begun += begins.length
  for (const { leaseId } of begins) known.add(leaseId)
  for (const { leaseId, unused } of settlements) if (unused === true) known.delete(leaseId)
  return false
}

/** Clients with 0.50 USD for requests that cost 0.02 USD each, and may cost a little more. */
const PAYERS = {
  exact: { mode: 'exact' },
  strict: { mode: 'exact', strict: true },
  capped: { mode: 'capped' },
  // Its requests may cost four dollars each, as far as they say.
  wide: { mode: 'capped' },
  after: { mode: 'after' },
  warn: { mode: 'exact', on_exceeded: 'warn' },
  dying: { mode: 'exact' },
} as const
type Payer = keyof typeof PAYERS

const ADMIN = 'admin-token-of-several-processes-1'
const tokenOf = (payer: string) => `sy-several-token-of-${payer}`
const PAID_MODEL = 'stage/paid'
const PRICES = { prompt: '0.000001', completion: '0.001' }
const PAID_USD = 0.02

/** What upstream has charged the clients with budgets, by client, in nano-dollars. */
const charged = new Map<string, number>()

/** What an answer costs, told by its `x-title`: the client's name. */
function chargeFor(payer: string): number {
  charged.set(payer, (charged.get(payer) ?? 0) + PAID_USD * 1e9)
  return PAID_USD
}

const USAGE = { prompt_tokens: 5, completion_tokens: 5, total_tokens: 10, cost: 0.001 }
const ANSWER = JSON.stringify({
  ...{ id: 'gen-1', object: 'chat.completion', model: 'm', usage: USAGE },
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }],
})
const EVENT = `data: ${JSON.stringify({
  ...{ id: 'gen-1', object: 'chat.completion.chunk', model: 'm' },
  choices: [{ index: 0, delta: { role: 'assistant', content: 'Hi' }, finish_reason: null }],
})}\n\n`

/** Charges a client as soon as its request comes, and answers later. */
async function servePaid(payer: string, isStream: boolean, response: ServerResponse) {
  const usage = { ...USAGE, cost: chargeFor(payer) }
  response.setHeader('content-type', isStream ? 'text/event-stream' : 'application/json')
  if (isStream) response.write(EVENT)
  await new Promise((resolve) => setTimeout(resolve, ANSWER_MS))
  // These of its requests are under way when its process dies.
  if (payer === 'dying' && isStream) return
  const { choices, ...rest } = JSON.parse(ANSWER)
  const [{ message, ...choice }] = choices
  const last = {
    ...rest,
    object: 'chat.completion.chunk',
    choices: [{ ...choice, delta: message }],
  }
  response.end(
    isStream
      ? `data: ${JSON.stringify({ ...last, usage })}\n\ndata: [DONE]\n\n`
      : JSON.stringify({ choices, ...rest, usage }),
  )
}

const openCalls = new Map<string, number>()

async function serveUpstream(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await textOf(request)
  if (request.method === 'GET') {
    const models = [{ id: PAID_MODEL, pricing: PRICES }]
    const key = { label: 'x', limit: null, usage: 0 }
    response.end(JSON.stringify({ data: request.url?.endsWith('/models') ? models : key }))
    return
  }
  const { model, stream } = JSON.parse(body)
  const title = String(request.headers['x-title'])
  if (model === PAID_MODEL) await servePaid(title, stream === true, response)
  else await serveFate(model, request, response)
}

async function serveFate(model: string, request: IncomingMessage, response: ServerResponse) {
  const fate = String(request.headers['x-title'])
  const key = String(request.headers.authorization).replace('Bearer sk-or-v1-test-', '')
  const open = (openCalls.get(key) ?? 0) + 1
  openCalls.set(key, open)
  response.once('close', () => openCalls.set(key, (openCalls.get(key) ?? 0) - 1))
  calls.push({ model, fate, key, open, atMs: Date.now() })
  if (model === 'stage/called' && fate === 'never') kill('called')
  if (fate === 'never') return
  if (model === `stage/${SHARED_MODEL}`) {
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS))
    if (calls.length % FAULT_EVERY === 0) response.statusCode = 502
  }
  const isBegun = fate === 'begun'
  response.setHeader('content-type', isBegun ? 'text/event-stream' : 'application/json')
  if (isBegun) response.write(EVENT)
  else response.end(response.statusCode === 502 ? 'Bad gateway' : ANSWER)
}

let upstream: Awaited<ReturnType<typeof listen>>
let shared: SharedPool

beforeAll(async () => {
  upstream = await listen(serveUpstream)
  const names = [...STAGES, BUSY]
  const keys = names.map((name) => ({
    ...{ id: name, key: `sk-or-v1-test-${name}`, account: name, rpm: RPM },
    max_concurrent: name === BUSY ? 1_000 : 1,
  }))
  const bank = { id: 'bank', key: 'sk-or-v1-test-bank', account: 'bank' }
  const sharedKeys = Object.entries(SHARED).map(([name, limits]) => ({
    ...{ id: name, key: `sk-or-v1-test-${name}`, account: name },
    ...limits,
  }))
  const payers = Object.entries(PAYERS).map(([id, terms]) => ({
    ...{ id, token: tokenOf(id), budget: { usd: 0.5, period: 'day', ...terms } },
  }))
  const policy = {
    breaker: { failures: 100 },
    queue: { max_wait_ms: 20_000 },
    routes: [
      ...names.map((name) => ({ models: [`stage/${name}`], keys: [name] })),
      { models: [`stage/${SHARED_MODEL}`], keys: Object.keys(SHARED) },
      { models: [PAID_MODEL], keys: [bank.id] },
    ],
  }
  const text = (value: string) => ({ kind: 'text', value }) as const
  shared = await startSharedPool(
    {
      UPSTREAM_URL: text(`${upstream.origin}/api/v1`),
      ANONYMOUS_CLIENTS: text('deny'),
      POLICY: { kind: 'json', value: policy },
      OPENROUTER_KEYS: text(JSON.stringify([...keys, ...sharedKeys, bank])),
      ADMIN_TOKEN: text(ADMIN),
      CLIENT_KEYS: text(JSON.stringify([{ id: 'tester', token: TOKEN }, ...payers])),
    },
    isLost,
  )
  const started = [...names, ...OTHERS, 'dying'].map(async (name) =>
    victims.set(name, await shared.start(name)),
  )
  await Promise.all(started)
})

afterAll(async () => {
  await shared?.close()
  upstream?.close()
})

function chat({ origin }: GatewayProcess, name: string, fate: Fate): Promise<Response> {
  return fetch(`${origin}/api/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${TOKEN}`,
      'content-type': 'application/json',
      'x-title': fate,
    },
    body: JSON.stringify({
      model: `stage/${name}`,
      messages: [{ role: 'user', content: 'Hi' }],
      max_tokens: 20,
      ...(fate === 'begun' ? { stream: true } : {}),
    }),
  })
}

function victimOf(name: string): GatewayProcess {
  const victim = victims.get(name)
  if (victim === undefined) throw new Error(`No process ${name}`)
  return victim
}

async function keyOf(name: string) {
  const { keys } = await shared.snapshot()
  const key = keys.find(({ id }) => id === name)
  if (key === undefined) throw new Error(`No key ${name}`)
  return { inFlight: key.inFlight, requests: Math.round((key.rpmUsed ?? 0) * RPM) }
}

const FATES: Record<Stage, Fate> = {
  granted: 'answered',
  called: 'never',
  streaming: 'begun',
  settling: 'answered',
}

test('three Workers keep every limit of every key, with leases ahead and with faults', {
  timeout: 60_000,
}, async () => {
  const gateways = [shared.survivor, ...OTHERS.map(victimOf)]
  const tokens = new Map<string | null, number>()
  const sendInTurn = async (gateway: GatewayProcess, count: number) => {
    for (let i = 0; i < count; i++) {
      const response = await chat(gateway, SHARED_MODEL, 'answered')
      const text = await response.text()
      expect([200, 429, 502]).toContain(response.status)
      const key = response.headers.get('x-switchyard-key')
      const { total_tokens: used } = response.ok ? JSON.parse(text).usage : { total_tokens: 0 }
      tokens.set(key, (tokens.get(key) ?? 0) + used)
    }
  }
  const load = async (atOnce: number, count: number) => {
    const senders = gateways.flatMap((gateway) =>
      Array.from({ length: atOnce }, () => sendInTurn(gateway, count)),
    )
    await Promise.all(senders)
  }
  // First so few at once that leases are held ahead, and then more than the keys can take.
  await load(2, 16)
  await load(8, 4)

  const ofKey = (name: string) => calls.filter(({ key }) => key === name)
  for (const [name, limits] of Object.entries(SHARED)) {
    const most = Math.max(...ofKey(name).map(({ open }) => open))
    expect([name, most]).toEqual([name, Math.min(most, limits.max_concurrent)])
  }
  const times = ofKey('narrow').map(({ atMs }) => atMs)
  const inMinute = times.map((end) => times.filter((at) => at > end - 60_000 && at <= end).length)
  expect(Math.max(...inMinute)).toBe(SHARED.narrow.rpm)
  expect(tokens.get('metered')).toBeLessThanOrEqual(SHARED.metered.tpm)
  expect(tokens.get('metered')).toBeGreaterThan(SHARED.metered.tpm / 3)
  const attempts = async () => {
    const { keys } = await shared.snapshot()
    return keys.filter(({ id }) => id in SHARED)
  }
  // Every attempt is booked once, whichever process made it.
  const booked = await until(attempts, (keys) => keys.every(({ inFlight }) => inFlight === 0))
  for (const { id, total } of booked) expect([id, total.attempts]).toEqual([id, ofKey(id).length])
})

test.concurrent.each(STAGES)('a process that dies with a lease that is %s', async (stage) => {
  const response = chat(victimOf(stage), stage, FATES[stage])
  const read = response.then(async ({ body }) => {
    const reader = body?.getReader()
    await reader?.read()
    if (stage === 'streaming') kill(stage)
    await reader?.read()
  })
  await read.catch(() => undefined)
  await until(async () => killedAtMs.has(stage), Boolean)
  expect(await keyOf(stage)).toEqual({ inFlight: 1, requests: 1 })

  const next = await chat(shared.survivor, stage, 'answered')
  const freeAfterMs = Date.now() - (killedAtMs.get(stage) ?? 0)
  expect(next.status).toBe(200)
  await next.text()
  expect(freeAfterMs).toBeGreaterThan(1_000)
  expect(freeAfterMs).toBeLessThan(FREE_WITHIN_MS)
  // What the dead one took of the minute stays charged: its request may have reached OpenRouter.
  await until(
    () => keyOf(stage),
    ({ inFlight }) => inFlight === 0,
  )
  expect((await keyOf(stage)).requests).toBe(2)
})

test('a process that dies with leases ahead, begun and not, and with answers under way', {
  timeout: 60_000,
}, async () => {
  const victim = victimOf(BUSY)
  const open: Promise<unknown>[] = []
  const quick: Promise<Response>[] = []
  const held = (fate: Fate) => open.push(chat(victim, BUSY, fate).catch(() => undefined))
  const enoughMs = Date.now() + 15_000
  for (let i = 0; begun < 30 && Date.now() < enoughMs; i++) {
    quick.push(chat(victim, BUSY, 'answered'), chat(victim, BUSY, 'answered'))
    if (i % 20 === 19) for (const fate of ['never', 'begun'] as const) held(fate)
    await new Promise((resolve) => setTimeout(resolve, 40))
  }
  for (const response of await Promise.all(quick)) {
    expect(response.status).toBe(200)
    await response.text()
  }
  expect(begun).toBeGreaterThanOrEqual(30)
  const made = () => calls.filter(({ model }) => model === `stage/${BUSY}`).length
  areBeginsLost = true
  const before = made()
  held('never')
  await until(
    async () => made(),
    (count) => count > before,
  )
  expect((await keyOf(BUSY)).inFlight).toBeGreaterThan(0)
  kill(BUSY)
  const freed = await until(
    () => keyOf(BUSY),
    ({ inFlight }) => inFlight === 0,
    FREE_WITHIN_MS,
  )
  // Of what was held ahead the minute is free, and of nothing that is known to have begun.
  expect(freed.requests).toBe(known.size)
  await Promise.all(open)
})

/** Whose lease requests the object did not answer in time: what it has granted then, nobody knows of. */
const unanswered = new Set<Payer>()

/** A request of a client with a budget. @returns its status, once its answer has ended */
async function pay(
  { origin }: Pick<GatewayProcess, 'origin'>,
  payer: Payer,
  stream: boolean,
): Promise<number> {
  const question = { messages: [{ role: 'user', content: 'Hi' }], stream }
  const bound = payer === 'wide' ? {} : { max_tokens: 20 }
  const response = await fetch(`${origin}/api/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${tokenOf(payer)}`,
      'content-type': 'application/json',
      'x-title': payer,
    },
    body: JSON.stringify({ model: PAID_MODEL, ...question, ...bound }),
  })
  await response.text()
  // On a machine with other things to do the object may not answer in time.
  if (response.status !== 503) return response.status
  unanswered.add(payer)
  return await pay({ origin }, payer, stream)
}

/** What a client's budget says, in nano-dollars. */
async function budgetOf(payer: Payer) {
  const headers = { authorization: `Bearer ${ADMIN}` }
  const response = await fetch(`${shared.survivor.origin}/admin/api/clients/${payer}`, { headers })
  const { budgets } = (await response.json()) as { budgets: Record<string, number>[] }
  const nanos = (name: string) => Math.round((budgets[0]?.[name] ?? Number.NaN) * 1e9)
  return { spent: nanos('spent_usd'), reserved: nanos('reserved_usd'), lost: nanos('lost_usd') }
}

test.each<[Payer, number, number]>([
  ['exact', 0.45, 0.5],
  ['strict', 0.45, 0.5],
  ['capped', 0.45, 0.5],
  ['wide', 0.45, 0.5 + 10 * PAID_USD],
  ['after', 0.5, 99 * PAID_USD],
  ['warn', 99 * PAID_USD, 99 * PAID_USD],
])(
  'three Workers, and a budget that is %s: between %d and %d USD are spent',
  async (payer, least, most) => {
    const gateways = [shared.survivor, ...OTHERS.map(victimOf)]
    const sent = gateways.flatMap((gateway) =>
      Array.from({ length: 33 }, (_, i) => pay(gateway, payer, i % 2 === 0)),
    )
    const statuses = await Promise.all(sent)
    expect(statuses.filter((status) => status !== 200 && status !== 402)).toEqual([])
    const total = charged.get(payer) ?? 0
    expect(total / 1e9).toBeGreaterThanOrEqual(least)
    expect(total / 1e9).toBeLessThanOrEqual(most)
    const settled = await until(
      () => budgetOf(payer),
      ({ spent, reserved }) => spent === total && reserved === 0,
    )
    if (!unanswered.has(payer)) expect(settled.lost).toBe(0)
  },
)

test('a budget is never charged less than was spent, although a process dies in the middle', async () => {
  // So that the process knows what the others cost.
  for (let i = 0; i < 2; i++) await pay(victimOf('dying'), 'dying', false)
  const sent = Array.from({ length: 20 }, (_, i) =>
    pay(victimOf('dying'), 'dying', i % 2 === 0).catch(() => null),
  )
  const costOf = (count: number) => count * PAID_USD * 1e9
  // Half of them are answered. The others have begun to stream.
  await until(
    async () => charged.get('dying'),
    (nanos) => nanos === costOf(22),
  )
  await until(
    () => budgetOf('dying'),
    ({ spent }) => spent === costOf(12),
  )
  kill('dying')
  await Promise.all(sent)
  const { spent, lost } = await until(
    () => budgetOf('dying'),
    ({ reserved }) => reserved === 0,
    FREE_WITHIN_MS,
  )
  expect(spent).toBe(costOf(12))
  expect(spent + lost).toBeGreaterThanOrEqual(costOf(22))
  // Nobody knows what became of these, so what they may have cost is not given out again.
  expect(spent + lost).toBeLessThanOrEqual(0.5e9)
  for (let i = 0; i < 9; i++) await pay(shared.survivor, 'dying', false)
  expect(charged.get('dying')).toBeLessThanOrEqual(0.5e9)
})
