import { expect, it } from 'vitest'
import { keyId, leaseId } from '../../src/balancing/ids.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import type { PoolAnswer, PoolClient } from '../../src/key-pool/pool-client.ts'
import { withOutage } from '../../src/key-pool/pool-outage.ts'
import type { ExchangeReply, ExchangeRequest } from '../../src/key-pool/protocol.ts'

const ANSWER = {
  kind: 'answer',
  value: { version: 1, decisions: [], lookups: [] },
} as const satisfies PoolAnswer<ExchangeReply>
const UNAVAILABLE = { kind: 'unavailable' } as const
const UNASKED = { kind: 'unavailable', unasked: true }

function settlementOf(id: string): Settlement {
  const nothing = { outcome: 'success', benches: [], suspect: false } as const
  return { leaseId: leaseId(id), keyId: keyId('a'), ...nothing }
}

const exchangeOf = (...ids: string[]): ExchangeRequest => ({
  version: 1,
  wants: [],
  settlements: ids.map(settlementOf),
  lookups: [],
})

/** An isolate in front of an object that hangs, breaks or answers, on a clock of its own. */
function isolate() {
  let nowMs = 0
  let state: 'hangs' | 'breaks' | 'answers' = 'hangs'
  const asked: { readonly atMs: number; readonly settlements: readonly string[] }[] = []
  const ends: (() => void)[] = []
  const exchange = async ({ settlements }: ExchangeRequest) => {
    asked.push({ atMs: nowMs, settlements: settlements.map((one) => one.leaseId) })
    if (state === 'answers') return ANSWER
    if (state === 'hangs') await new Promise<void>((resolve) => ends.push(resolve))
    return UNAVAILABLE
  }
  const pool = withOutage({ exchange } as PoolClient, () => nowMs)
  return {
    asked,
    be: (next: typeof state) => {
      state = next
    },
    send: (...ids: string[]) => pool.exchange(exchangeOf(...ids)),
    /** Lets time pass. Calls that hang are given up after two seconds; here at the end of the time. */
    async pass(ms: number) {
      nowMs += ms
      for (const end of ends.splice(0)) end()
      await new Promise((resolve) => setTimeout(resolve))
    },
  }
}

it('only the requests that find out wait for an object that hangs; the others go on at once', async () => {
  const { send, pass, asked } = isolate()
  const first = [send(), send(), send()]
  await pass(2_000)
  expect(await Promise.all(first)).toEqual([UNAVAILABLE, UNAVAILABLE, UNAVAILABLE])
  void send()
  for (let i = 0; i < 50; i++) expect(await send()).toEqual(UNASKED)
  expect(asked).toHaveLength(4)
})

it('asks again with one request at a time, growing apart to five seconds', async () => {
  const { send, pass, asked } = isolate()
  void send()
  await pass(2_000)
  for (let i = 0; i < 400; i++) {
    // A hanging call takes two seconds, so twenty others come meanwhile.
    const call = send()
    if (asked.at(-1)?.atMs === 2_000 + i * 100) {
      for (let n = 0; n < 20; n++) expect(await send()).toEqual(UNASKED)
    }
    void call
    await pass(100)
  }
  const at = asked.map(({ atMs }) => atMs)
  const pauses = at.slice(1).map((ms, i) => ms - (at[i] ?? 0))
  expect(pauses.every((pause, i) => i < 2 || pause >= (pauses[i - 1] ?? 0))).toBe(true)
  expect(pauses.at(-1)).toBeGreaterThanOrEqual(5_000)
  expect(pauses.at(-1)).toBeLessThan(7_200)
})

it('goes on as before once the object answers', async () => {
  const { send, pass, be } = isolate()
  void send()
  await pass(2_000)
  void send()
  await pass(2_000)
  be('answers')
  expect(await send()).toEqual(UNASKED)
  await pass(500)
  expect(await send()).toEqual(ANSWER)
  expect(await Promise.all([send(), send()])).toEqual([ANSWER, ANSWER])
})

it('a restart, which breaks all running calls once, is no outage', async () => {
  const { send, pass, be } = isolate()
  const running = [send(), send(), send()]
  await pass(100)
  expect(await Promise.all(running)).toEqual([UNAVAILABLE, UNAVAILABLE, UNAVAILABLE])
  be('answers')
  expect(await Promise.all([send(), send()])).toEqual([ANSWER, ANSWER])
})

it('an object that breaks each call is asked by one request at a time, too', async () => {
  const { send, be, asked } = isolate()
  be('breaks')
  for (let i = 0; i < 10; i++) await send()
  expect(asked).toHaveLength(3)
})

it('a call that never comes back does not keep the isolate from asking for ever', async () => {
  let nowMs = 0
  let hangs = false
  let calls = 0
  const exchange = async () => {
    calls += 1
    if (hangs) await new Promise(() => undefined)
    return UNAVAILABLE
  }
  const pool = withOutage({ exchange } as unknown as PoolClient, () => nowMs)
  await pool.exchange(exchangeOf())
  await pool.exchange(exchangeOf())
  hangs = true
  nowMs += 5_000
  void pool.exchange(exchangeOf())
  expect(await pool.exchange(exchangeOf())).toEqual(UNASKED)
  nowMs += 3_000
  void pool.exchange(exchangeOf())
  expect(calls).toBe(4)
})

it('settlements that could not be sent go along with the next exchange, and once', async () => {
  const { send, pass, be, asked } = isolate()
  void send('x')
  await pass(2_000)
  void send('y')
  await send('a', 'b')
  await send('a')
  await pass(2_000)
  be('answers')
  await pass(500)
  await send('c')
  await send('d')
  expect(asked.slice(2).map(({ settlements }) => settlements)).toEqual([['a', 'b', 'c'], ['d']])
})

it('a settlement is kept for less than a minute: by then its lease ends by itself', async () => {
  const { send, pass, be, asked } = isolate()
  void send()
  await pass(2_000)
  void send()
  await send('a')
  be('answers')
  await pass(60_000)
  await send()
  expect(asked.at(-1)?.settlements).toEqual([])
})
