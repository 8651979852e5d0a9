import { expect, it, vi } from 'vitest'
import type { RequestAffinity } from '../../src/balancing/lease-request.ts'
import type { AwaitReply, ExchangeReply, ExchangeRequest } from '../../src/key-pool/protocol.ts'
import * as names from '../wire-names.ts'
import { DONE, ROLE, STOP, said, USAGE } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type WorldOptions } from './virtual-world.ts'

// What a Worker and the pool's object really say to each other, held against the list of names.

const { fieldNames } = names
const AFFINITY: RequestAffinity = { kind: 'conversation', id: 'some hash' }
const GOOD: Script = {
  ...streamOf(ROLE + said('Hello') + USAGE + STOP + DONE),
  headers: { 'content-type': 'text/event-stream', 'x-generation-id': 'gen-1' },
}

interface Heard {
  readonly requests: readonly ExchangeRequest[]
  readonly replies: readonly ExchangeReply[]
  readonly awaited: readonly AwaitReply[]
}

/** All that is said about some requests that come at once. */
async function heardOf(options: WorldOptions, scripts: readonly Script[]): Promise<Heard> {
  const world = createVirtualWorld({ lookups: 'routine', ...options })
  const exchange = vi.spyOn(world.pool, 'exchange')
  const whenDecided = vi.spyOn(world.pool, 'whenDecided')
  world.upstream.on('key', jsonAnswer(200, { data: { limit: 5, limit_remaining: 2 } }))
  world.upstream.on('chat/completions', ...scripts)
  const sent = scripts.map(() => world.send({ affinity: AFFINITY, tokens: 10 }))
  for (const one of sent) await world.finish(one)
  await world.time.advance(1_000)
  const values = <T>(spy: { mock: { settledResults: readonly { value: unknown }[] } }) =>
    spy.mock.settledResults.map(({ value }) => (value as { value: T }).value)
  return {
    requests: exchange.mock.calls.map(([request]) => request),
    replies: values<ExchangeReply>(exchange),
    awaited: values<AwaitReply>(whenDecided),
  }
}

const namesOf = (items: readonly object[]) =>
  [...new Set(items.flatMap((item) => Object.keys(item)))].toSorted()

it('what a Worker says has the names that older and newer objects know', async () => {
  const tooLarge = errorAnswer(402, 'You requested up to 900 tokens, but can only afford 7.')
  const { requests } = await heardOf({}, [
    GOOD,
    errorAnswer(401, 'No such key.'),
    GOOD,
    tooLarge,
    GOOD,
    errorAnswer(429, 'Too many requests'),
    GOOD,
  ])
  const settlements = requests.flatMap((request) => request.settlements)
  expect(namesOf(requests)).toEqual(names.EXCHANGE_REQUEST)
  expect(namesOf(requests.flatMap(({ wants }) => wants))).toEqual(names.LEASE_REQUEST)
  expect(namesOf([AFFINITY])).toEqual(names.AFFINITY)
  expect(namesOf(settlements)).toEqual(names.SETTLEMENT)
  expect(namesOf(settlements.flatMap(({ lease }) => lease ?? []))).toEqual(names.LEASE_TERMS)
  expect(namesOf(settlements.flatMap(({ usage }) => usage ?? []))).toEqual(names.USAGE)
  expect(namesOf(settlements.flatMap(({ benches }) => benches))).toEqual(names.BENCH_ORDER)
  expect(namesOf(requests.flatMap(({ lookups }) => lookups))).toEqual(names.KEY_REPORT)
})

it('what the object says has the names that older and newer Workers know', async () => {
  const one = { keys: [{ id: 'a', maxConcurrent: 1 }], queue: { maxWaitMs: 500, maxWaiting: 1 } }
  const { replies, awaited } = await heardOf(one, [{ ...GOOD, headersAfterMs: 2_000 }, GOOD, GOOD])
  const decisions = [
    ...replies.flatMap((reply) => reply.decisions),
    ...awaited.flatMap(({ decision }) => decision ?? []),
  ]
  const ofKind = (kind: string) => decisions.filter((decision) => decision.kind === kind)
  expect(namesOf(replies)).toEqual(names.EXCHANGE_REPLY)
  expect(namesOf(replies.flatMap(({ lookups }) => lookups))).toEqual(names.LOOKUP_DUTY)
  expect(namesOf(ofKind('grant'))).toEqual(names.GRANT)
  expect(namesOf(ofKind('refusal'))).toEqual(names.REFUSAL)
  expect(namesOf(ofKind('waiting'))).toEqual(names.WAITING)
  expect(namesOf(awaited)).toEqual(names.AWAIT_REPLY)
  expect([...fieldNames(ofKind('refusal').map((refusal) => Object(refusal).reasons))]).toEqual([
    'at_max_concurrent',
  ])
})

it('what is said at rest has the names that older and newer releases know', async () => {
  const world = createVirtualWorld()
  const duties = vi.spyOn(world.pool, 'duties')
  const reply = await world.pool.duties({ max: 30, maxGenerations: 60 })
  const health = await world.pool.health()
  if (reply.kind !== 'answer' || health.kind !== 'answer') throw new Error('No answer')
  expect(namesOf([reply.value])).toEqual(names.DUTIES_REPLY)
  expect(namesOf([health.value])).toEqual(names.HEALTH_REPLY)
  expect(namesOf(duties.mock.calls.flat())).toEqual(names.DUTIES_REQUEST)
})
