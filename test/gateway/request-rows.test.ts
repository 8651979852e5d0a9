import { describe, expect, it } from 'vitest'
import type { RequestRow } from '../../src/balancing/accounting/request-row.ts'
import { clientId } from '../../src/balancing/ids.ts'
import { FLUSH_MS } from '../../src/gateway/leases/outbox.ts'
import { clientOf, groupOf } from '../balancing/clients/client-terms.ts'
import { DONE, ROLE, STOP, said, USAGE } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'
import {
  createVirtualWorld,
  START_MS,
  type VirtualWorld,
  type WorldOptions,
} from './virtual-world.ts'

// What operators find of a request, wherever and however it ended.

const CHAT = 'chat/completions'
const GOOD = streamOf(ROLE + said('Hello') + USAGE + STOP + DONE)
const SPENT = errorAnswer(403, 'Key limit exceeded (total limit).')

const WHOLE = jsonAnswer(200, {
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 7, completion_tokens: 3, cost: 0.25 },
})

function worldOf(options: WorldOptions, ...scripts: readonly Script[]) {
  const world = createVirtualWorld(options)
  world.upstream.on(CHAT, ...scripts)
  return world
}

async function rowsOf(world: VirtualWorld, id?: string): Promise<readonly RequestRow[]> {
  const answer = await world.pool.requests({ limit: 1_000, id })
  if (answer.kind !== 'answer') throw new Error('No answer')
  return answer.value.requests
}

/** The row of the only request of a world. */
async function onlyRow(world: VirtualWorld): Promise<RequestRow> {
  const [row, ...others] = await rowsOf(world)
  if (row === undefined || others.length > 0) throw new Error(`${others.length + 1} rows`)
  return row
}

describe('a request leaves a row', () => {
  it('when it is answered as a stream', async () => {
    const clients = {
      clients: [clientOf({ id: 'app', group: 'team' })],
      groups: [groupOf({ id: 'team' })],
    }
    const world = worldOf({ clients }, { ...GOOD, headersAfterMs: 300 })
    await world.finish(world.send({ client: 'app', requestId: 'id-1', asked: 'fast' }))
    const row = await onlyRow(world)
    expect(row).toMatchObject({
      ...{ id: 'id-1', clientId: 'app', groupId: 'team', path: CHAT, route: 0 },
      ...{ asked: 'fast', sent: 'vendor/model', outcome: 'answered', status: 200, reason: null },
      ...{ streamed: true, degraded: false, attemptsLeftOut: 0, startedAtMs: START_MS },
    })
    expect(row.attempts).toMatchObject([
      { key: 'a', status: null, fault: null, beganMs: 0, waitedMs: 0, firstOutputMs: 300 },
    ])
    expect(row.endedAtMs - row.startedAtMs).toBe(row.attempts[0]?.tookMs)
    expect(row.usage?.promptTokens).toBeGreaterThan(0)
  })

  it('when it is answered whole', async () => {
    const world = worldOf({}, WHOLE)
    await world.finish(world.send())
    expect(await onlyRow(world)).toMatchObject({
      ...{ outcome: 'answered', status: 200, streamed: false },
      usage: { promptTokens: 7, completionTokens: 3, costUsd: 0.25, estimated: false },
    })
  })

  it('with each of its attempts, what failed them, and how long it waited', async () => {
    const world = worldOf({ random: () => 1 }, SPENT, errorAnswer(500, 'No'), GOOD)
    await world.finish(world.send())
    const { attempts, timingsMs } = await onlyRow(world)
    expect(attempts).toMatchObject([
      { key: 'a', status: 403, row: '5', fault: 'key', why: 'the key has spent its limit' },
      { key: 'b', status: 500, row: '16b', fault: 'upstream', waitedMs: 0 },
      { key: 'c', status: null, row: null, fault: null },
    ])
    expect(attempts[2]?.waitedMs).toBeGreaterThan(0)
    expect(attempts[2]?.waitedMs).toBe(timingsMs.wait)
    expect(attempts[2]?.beganMs).toBeGreaterThanOrEqual(timingsMs.wait)
  })

  it('with the first and the last of very many attempts', async () => {
    const keys = Array.from({ length: 9 }, (_, i) => `k${i}`)
    const world = worldOf({ keys, maxAttempts: 9 }, ...keys.slice(1).map(() => SPENT), GOOD)
    await world.finish(world.send())
    const { attempts, attemptsLeftOut } = await onlyRow(world)
    expect(attempts.map(({ key }) => key)).toEqual(['k0', 'k5', 'k6', 'k7', 'k8'])
    expect(attemptsLeftOut).toBe(4)
  })

  it('when it is refused by a limit, without an attempt', async () => {
    const clients = { clients: [clientOf({ id: 'app', rpm: 1 })], groups: [] }
    const world = worldOf({ clients }, GOOD)
    await world.finish(world.send({ client: 'app', requestId: 'first' }))
    await world.finish(world.send({ client: 'app', requestId: 'second' }))
    expect(await rowsOf(world, 'second')).toMatchObject([
      { outcome: 'failed', status: 429, reason: 'client_rate_limited', attempts: [], sent: null },
    ])
  })

  it('when no key can serve, with the reasons counted', async () => {
    const world = worldOf({ keys: [{ id: 'a', disabled: true }] })
    await world.finish(world.send())
    expect(await onlyRow(world)).toMatchObject({
      ...{ outcome: 'failed', status: 503, reason: 'no_key_available', reasons: { disabled: 1 } },
    })
  })

  it('when upstream refuses it, with upstream’s status', async () => {
    const world = worldOf({}, errorAnswer(400, 'Bad'))
    await world.finish(world.send())
    expect(await onlyRow(world)).toMatchObject({ outcome: 'failed', status: 400, reason: null })
  })

  it('when its client leaves: in the middle of a stream, or in the queue', async () => {
    const keys = [{ id: 'a', maxConcurrent: 1 }]
    const queue = { maxWaiting: 5, maxWaitMs: 60_000 }
    const world = worldOf({ keys, queue }, openStream(ROLE + said('a')), GOOD)
    const clients = [new AbortController(), new AbortController()] as const
    const stream = world.send({ requestId: 'streams', signal: clients[0].signal })
    await world.time.drain()
    const waiting = world.send({ requestId: 'waits', signal: clients[1].signal })
    await world.time.advance(1_000)
    clients[1].abort()
    await world.finish(waiting)
    clients[0].abort()
    await world.finish(stream)
    const gone = { outcome: 'client_gone', reason: null }
    expect(await rowsOf(world, 'streams')).toMatchObject([
      { ...gone, status: 200, attempts: [{ key: 'a', row: '17', fault: 'nobody' }] },
    ])
    expect(await rowsOf(world, 'waits')).toMatchObject([{ ...gone, status: null, attempts: [] }])
  })

  it('when a stream breaks off, with the error that the client was told', async () => {
    const world = worldOf({}, { ...streamOf(ROLE + said('a')), ends: 'broken' } as Script)
    await world.finish(world.send())
    expect(await onlyRow(world)).toMatchObject({ outcome: 'failed', streamed: true })
  })

  it('when the pool could not be reached meanwhile, once it can', async () => {
    const world = worldOf({}, GOOD, GOOD)
    world.pool.connect([], 'unreachable')
    await world.time.runUntil(() => false, 1)
    const sent = world.send({ requestId: 'alone' })
    await world.finish(sent)
    world.pool.connect([])
    await world.finish(world.send({ requestId: 'later' }))
    expect(await rowsOf(world, 'alone')).toMatchObject([{ degraded: true, outcome: 'answered' }])
  })
})

describe('the rows of requests', () => {
  it('are found by id, the latest first where two have the same', async () => {
    const world = worldOf({}, GOOD, SPENT, WHOLE)
    await world.finish(world.send({ requestId: 'same' }))
    await world.finish(world.send({ requestId: 'other' }))
    world.upstream.on(CHAT, WHOLE)
    await world.finish(world.send({ requestId: 'same' }))
    const rows = await rowsOf(world, 'same')
    expect(rows.map(({ id, streamed }) => [id, streamed])).toEqual([
      ['same', false],
      ['same', true],
    ])
    expect(await rowsOf(world, 'unknown')).toEqual([])
  })

  it('come once, although their exchange was answered in vain and is sent again', async () => {
    const world = worldOf({}, GOOD)
    world.pool.connect(['answers', 'answer_lost', 'answer_lost'])
    await world.finish(world.send())
    expect(await rowsOf(world)).toHaveLength(1)
  })

  it('of a lone request cost no call, and that of a refused one a call within 250 ms', async () => {
    const clients = { clients: [clientOf({ id: 'app', rpm: 1 })], groups: [] }
    const world = worldOf({ clients }, GOOD, GOOD)
    await world.finish(world.send({ client: 'app' }))
    expect(world.pool.exchanges()).toBe(2)
    for (let n = 0; n < 5; n++) world.send({ client: 'app' })
    await world.time.drain()
    expect(world.pool.exchanges()).toBe(2 + 5)
    await world.time.advance(FLUSH_MS)
    expect(world.pool.exchanges()).toBe(2 + 5 + 1)
    expect(await rowsOf(world)).toHaveLength(6)
  })

  it('hold no more of names than says something, and no secret that stands for one', async () => {
    const world = worldOf({}, errorAnswer(400, 'Bad'), errorAnswer(400, 'Bad'))
    const model = `sk-or-v1-${'ab'.repeat(32)}`
    await world.finish(world.send({ model }))
    await world.finish(world.send({ model: 'm'.repeat(5_000) }))
    const [long, secret] = await rowsOf(world)
    expect(secret?.asked).toBe('sk-or-…')
    expect(JSON.stringify(secret)).not.toContain('abab')
    expect(JSON.stringify(long).length).toBeLessThan(2_000)
  })

  it('can be asked for by client, by key, by outcome and since a moment', async () => {
    const world = worldOf({}, GOOD, SPENT, GOOD, errorAnswer(400, 'Bad'))
    for (const client of ['x', 'y', 'x']) {
      await world.finish(world.send({ client }))
      await world.time.advance(1_000)
    }
    const ask = async (query: object) => {
      const answer = await world.pool.requests({ limit: 10, ...query })
      return answer.kind === 'answer' ? answer.value.requests : []
    }
    expect(await ask({ clientId: clientId('x') })).toHaveLength(2)
    expect(await ask({ keyId: 'a' })).toHaveLength(2)
    expect(await ask({ keyId: 'b' })).toHaveLength(2)
    expect(await ask({ outcome: 'failed' })).toHaveLength(1)
    const [latest] = await ask({})
    expect(await ask({ sinceMs: latest?.endedAtMs })).toHaveLength(1)
    expect(await ask({ limit: 2 })).toHaveLength(2)
  })
})

it('a line of a batch that finds no room leaves no row until it has: it has not ended', async () => {
  const world = worldOf({ keys: [{ id: 'a', maxConcurrent: 2 }] }, openStream(''), WHOLE)
  const client = new AbortController()
  world.send({ class: 'batch', requestId: 'line-1', signal: client.signal })
  await world.time.drain()
  for (let times = 0; times < 3; times += 1) {
    const line = world.send({ class: 'batch', requestId: 'line-2' })
    expect((await world.finish(line)).error?.reason).toBe('no_key_available')
  }
  client.abort()
  await world.time.advance(FLUSH_MS)
  expect((await rowsOf(world)).map(({ id }) => id)).toEqual(['line-1'])
  await world.finish(world.send({ class: 'batch', requestId: 'line-2' }))
  expect(await rowsOf(world, 'line-2')).toMatchObject([{ outcome: 'answered', status: 200 }])
})
