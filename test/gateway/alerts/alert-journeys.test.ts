import { describe, expect, it } from 'vitest'
import { ALERT_EVENTS } from '../../../src/balancing/alerts/alert-policy.ts'
import { readAlertAddresses } from '../../../src/config/alerts/alert-addresses.ts'
import { POLICY } from '../../balancing/pool-driver.ts'
import { HELLO } from '../stream-texts.ts'
import { errorAnswer, type Script, streamOf } from '../upstream-script.ts'
import { createVirtualWorld, type WorldOptions } from '../virtual-world.ts'

const CHAT = 'chat/completions'
const GOOD = streamOf(HELLO)
const KEY_SPENT = errorAnswer(403, 'Key limit exceeded (total limit)')
const DOWN = errorAnswer(500, 'Internal Server Error')

const SECRET = `whsec_${btoa('k'.repeat(32))}`
const { addresses } = readAlertAddresses(
  JSON.stringify({ ops: { url: 'https://ops.example.com/hook', secret: SECRET } }),
  false,
)

interface Heard {
  readonly type: string
  readonly data: { readonly alerts: readonly { readonly subject: string }[] }
}

/** A world in which `ops` is told, and what it has heard, each message once. */
function worldOf(options: WorldOptions = {}) {
  const heard: string[] = []
  const ids = new Set<string>()
  const receiver = { isUp: true, calls: 0 }
  const world = createVirtualWorld({
    keys: ['a', 'b'],
    ...options,
    pool: {
      alerts: {
        ...POLICY.alerts,
        usableKeysBelow: 0,
        to: new Map(ALERT_EVENTS.map((event) => [event, ['ops']] as const)),
      },
      ...options.pool,
    },
    addresses,
    async receiver(_, { headers, body }) {
      receiver.calls += 1
      if (!receiver.isUp) return new Response('Down', { status: 503 })
      const given = headers as Record<string, string>
      const { type, data } = JSON.parse(String(body)) as Heard
      const id = given['webhook-id'] ?? ''
      if (ids.has(id)) return new Response(null, { status: 204 })
      ids.add(id)
      for (const { subject } of data.alerts) heard.push(`${type} ${subject}`)
      return new Response(null, { status: 204 })
    },
  })
  const ask = async () => await world.finish(world.send())
  return {
    world,
    heard,
    receiver,
    ask,
    script: (...on: Script[]) => world.upstream.on(CHAT, ...on),
  }
}

describe('an alert', () => {
  it('is delivered by the Worker of the request in whose step it arose', async () => {
    const { world, heard, ask, script } = worldOf()
    script(KEY_SPENT, GOOD)
    const report = await ask()
    expect(report.status).toBe(200)
    expect(heard).toEqual(['key_spent.begin a'])
    expect(world.pool.told).toEqual(['key_spent a begin'])
    // Lease, settlement with the next lease, settlement, and the word that it is delivered.
    expect(world.pool.exchanges()).toBe(4)
    await ask()
    expect(world.pool.exchanges()).toBe(6)
    expect(heard).toHaveLength(1)
  })

  it('costs nothing where there are none', async () => {
    const { world, receiver, ask, script } = worldOf()
    script(GOOD)
    for (let i = 0; i < 5; i++) await ask()
    expect(world.pool.exchanges()).toBe(10)
    expect(receiver.calls).toBe(0)
  })

  it('is not lost by a receiver that is down for ten minutes, and by restarts of the object', async () => {
    const { world, heard, receiver, ask, script } = worldOf({ keys: ['a'], maxAttempts: 1 })
    receiver.isUp = false
    script(DOWN)
    for (let i = 0; i < 3; i++) await ask()
    script(GOOD)
    for (let passed = 0; passed < 600; passed += 30) {
      await world.time.advance(30_000)
      if (passed % 150 === 0) world.pool.restart()
      await ask()
    }
    expect(heard).toEqual([])
    expect(receiver.calls).toBeGreaterThan(4)
    receiver.isUp = true
    for (let passed = 0; passed < 900; passed += 30) {
      await world.time.advance(30_000)
      if (passed % 300 === 0) world.pool.restart()
      await ask()
    }
    const breaker = (lines: readonly string[]) =>
      lines.filter((line) => line.includes('breaker_open'))
    expect(breaker(heard)).toEqual(['breaker_open.begin a', 'breaker_open.end a'])
    expect(breaker(world.pool.told)).toEqual(['breaker_open a begin', 'breaker_open a end'])
    expect(world.pool.bugs).toEqual([])
  })

  it('tells of an error that only the last row of the table knows, by its status, once', async () => {
    const { world, ask, script } = worldOf({ keys: ['a', 'b', 'c'], maxAttempts: 3 })
    script(DOWN, DOWN, GOOD)
    for (let i = 0; i < 3; i++) await ask()
    expect(world.pool.told.filter((line) => line.startsWith('unknown_error'))).toEqual([
      'unknown_error 500 begin',
    ])
  })

  it('that nobody reports is handed to another Worker', async () => {
    const { world, heard, ask, script } = worldOf()
    script(KEY_SPENT, GOOD)
    // The call with the report is lost.
    world.pool.connect(['answers', 'answers', 'unreachable'])
    await ask()
    await world.time.advance(10_000)
    await ask()
    const queued = async () => {
      const answer = await world.pool.alerts({ kind: 'list' })
      return answer.kind === 'answer' ? answer.value?.queued.length : null
    }
    expect(await queued()).toBe(1)
    await world.time.advance(40_000)
    await ask()
    expect(await queued()).toBe(0)
    expect(heard).toEqual(['key_spent.begin a'])
  })

  it('of a batch’s end is one message, however often the batch says it, and nothing ends it', async () => {
    const { world, heard, ask, script } = worldOf()
    script(GOOD)
    const facts = { batch: 'batch_7', client: 'app', status: 'completed', total: 1 }
    const end = { kind: 'batch_ended', subject: 'batch_7', facts } as const
    // The batch does not know that it was heard, and the object dies right after it was.
    expect((await world.pool.alerts(end)).kind).toBe('answer')
    world.pool.restart()
    await world.pool.alerts(end)
    await ask()
    expect(heard).toEqual(['batch_ended.begin batch_7'])
    for (let minute = 0; minute < 20; minute++) {
      await world.time.advance(60_000)
      await ask()
    }
    expect(heard).toHaveLength(1)
    expect(world.pool.told).toEqual(['batch_ended batch_7 begin'])
  })
})
