import { afterAll, beforeAll, expect, test } from 'vitest'
import { TOKEN, until } from './harness.ts'
import {
  type GatewayProcess,
  listen,
  type Message,
  type SharedPool,
  startSharedPool,
  textOf,
} from './shared-pool.ts'

/**
 * What a process holds that is ended by SIGKILL, so that it can say nothing more, is free again within
 * three seconds, whatever it was about to do. The other processes share its pool.
 */

/** Where in a request its process dies. Each has a key of its own, which takes one request at a time. */
const STAGES = ['granted', 'called', 'streaming', 'settling'] as const

type Stage = (typeof STAGES)[number]

/** The key of a process with so many requests that it holds leases ahead. */
const BUSY = 'busy'

const RPM = 10_000

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
}

const calls: Call[] = []
let areBeginsLost = false
let begins = 0

function isLost({ from, ...message }: Message): boolean {
  if (killedAtMs.has(from)) return true
  if (message.kind === 'answer') {
    if (from === 'granted' && message.exchange.decisions[0]?.kind === 'grant') kill(from)
  } else {
    begins += message.exchange.begins?.length ?? 0
    if (from === 'settling' && message.exchange.settlements.length > 0) kill(from)
    if (areBeginsLost && message.exchange.begins !== undefined) return true
  }
  return killedAtMs.has(from)
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

let upstream: Awaited<ReturnType<typeof listen>>
let shared: SharedPool

beforeAll(async () => {
  upstream = await listen(async (request, response) => {
    const body = await textOf(request)
    if (request.method === 'GET') {
      response.end(JSON.stringify({ data: { label: 'x', limit: null, usage: 0 } }))
      return
    }
    const { model } = JSON.parse(body)
    const fate = String(request.headers['x-title'])
    calls.push({ model, fate })
    if (model === 'stage/called' && fate === 'never') kill('called')
    if (fate === 'never') return
    const isBegun = fate === 'begun'
    const type = isBegun ? 'text/event-stream' : 'application/json'
    response.writeHead(200, { 'content-type': type })
    if (isBegun) response.write(EVENT)
    else response.end(ANSWER)
  })
  const names = [...STAGES, BUSY]
  const keys = names.map((name) => ({
    ...{ id: name, key: `sk-or-v1-test-${name}`, account: name, rpm: RPM },
    max_concurrent: name === BUSY ? 1_000 : 1,
  }))
  const policy = {
    queue: { max_wait_ms: 20_000 },
    routes: names.map((name) => ({ models: [`stage/${name}`], keys: [name] })),
  }
  const text = (value: string) => ({ kind: 'text', value }) as const
  shared = await startSharedPool(
    {
      UPSTREAM_URL: text(`${upstream.origin}/api/v1`),
      ANONYMOUS_CLIENTS: text('deny'),
      POLICY: { kind: 'json', value: policy },
      OPENROUTER_KEYS: text(JSON.stringify(keys)),
      CLIENT_KEYS: text(`tester:${TOKEN}`),
    },
    isLost,
  )
  const started = names.map(async (name) => victims.set(name, await shared.start(name)))
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

test('a process that dies with leases ahead, begun and not, and with answers under way', async () => {
  const victim = victimOf(BUSY)
  const open: Promise<unknown>[] = []
  const quick: Promise<Response>[] = []
  const held = (fate: Fate) => open.push(chat(victim, BUSY, fate).catch(() => undefined))
  const enoughMs = Date.now() + 15_000
  for (let i = 0; begins < 30 && Date.now() < enoughMs; i++) {
    quick.push(chat(victim, BUSY, 'answered'), chat(victim, BUSY, 'answered'))
    if (i % 20 === 19) for (const fate of ['never', 'begun'] as const) held(fate)
    await new Promise((resolve) => setTimeout(resolve, 40))
  }
  for (const response of await Promise.all(quick)) {
    expect(response.status).toBe(200)
    await response.text()
  }
  expect(begins).toBeGreaterThanOrEqual(30)
  const made = () => calls.filter(({ model }) => model === `stage/${BUSY}`).length
  const told = made()
  // What is charged is at least what has begun, and leases ahead beside it. One more begins, untold.
  await until(
    () => keyOf(BUSY),
    ({ requests }) => requests >= told,
  )
  areBeginsLost = true
  held('never')
  await until(
    async () => made(),
    (count) => count > told,
  )
  expect((await keyOf(BUSY)).inFlight).toBeGreaterThan(4)
  kill(BUSY)
  await until(
    () => keyOf(BUSY),
    ({ inFlight }) => inFlight === 0,
  )
  expect(Date.now() - (killedAtMs.get(BUSY) ?? 0)).toBeLessThan(FREE_WITHIN_MS)
  // Of what was held ahead the minute is free, and nothing of what has begun is.
  const { requests } = await keyOf(BUSY)
  expect(requests).toBeGreaterThanOrEqual(told)
  expect(requests).toBeLessThanOrEqual(told + 1)
  await Promise.all(open)
})
