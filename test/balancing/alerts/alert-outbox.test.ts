import { describe, expect, it } from 'vitest'
import type { AlertChange } from '../../../src/balancing/alerts/alert.ts'
import {
  createAlertOutbox,
  MAX_NAMED,
  noteDelivery,
  restoreDeliveries,
  takeAlertDuties,
  takeDeliveryRecords,
  tell,
} from '../../../src/balancing/alerts/alert-outbox.ts'
import type { AlertEvent } from '../../../src/balancing/alerts/alert-policy.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const START_MS = Date.UTC(2026, 0, 15, 12)

function changeOf(phase: AlertChange['phase'], event: AlertEvent, subject: string): AlertChange {
  return { phase, alert: { event, subject, facts: {}, sinceMs: START_MS, goneSinceMs: null } }
}

/** Messages about keys to two addresses, of which one hears of rejected keys only. */
function outboxOf() {
  const outbox = createAlertOutbox()
  const to = new Map<AlertEvent, readonly string[]>([
    ['key_rejected', ['ops', 'pager']],
    ['breaker_open', ['ops']],
  ])
  let nowMs = START_MS
  const moment = () => ({ nowMs, random: () => 0 })
  const take = (most = 4) =>
    takeAlertDuties(outbox, most, nowMs).map(({ to: name, messages }) => ({ to: name, messages }))
  return {
    outbox,
    take,
    wait: (ms: number) => {
      nowMs += ms
    },
    tell: (...changes: AlertChange[]) => tell(outbox, { to }, changes, moment()),
    /** A Worker sends what it is given to `ops`, and reports it. */
    send(kind: 'delivered' | 'failed' | 'gone', status: number | null = null, most = 4) {
      const messages = take(most).find(({ to: name }) => name === 'ops')?.messages ?? []
      const sent: string[] = []
      for (const { id, phase, event, alerts, missed } of messages) {
        sent.push(
          `${phase} ${event} ${alerts.map(({ subject }) => subject).join(' ')}${missed > 0 ? ` (${missed} missed)` : ''}`,
        )
        noteDelivery(outbox, { to: 'ops', id, kind, status }, moment())
        if (kind !== 'delivered') break
      }
      return sent
    },
    queued: (name: string) => outbox.queues.get(name)?.length ?? 0,
  }
}

const begin = (subject: string) => changeOf('begin', 'breaker_open', subject)
const end = (subject: string) => changeOf('end', 'breaker_open', subject)

describe('messages', () => {
  it('go to the addresses of their event, and to nobody else', () => {
    const { tell: told, take } = outboxOf()
    told(begin('a'), changeOf('begin', 'key_rejected', 'a'))
    expect(take().map(({ to, messages }) => [to, messages.map(({ event }) => event)])).toEqual([
      ['ops', ['breaker_open', 'key_rejected']],
      ['pager', ['key_rejected']],
    ])
  })

  it('are handed to one Worker at a time, and to another when the first says nothing', () => {
    const { tell: told, take, wait } = outboxOf()
    told(begin('a'))
    const [first] = take()
    expect(take()).toEqual([])
    told(end('a'))
    wait(39_000)
    expect(take()).toEqual([])
    wait(2_000)
    const [again] = take()
    // The same id, so that the receiver can tell that it had it.
    expect(again?.messages.map(({ phase, id }) => [phase, id === first?.messages[0]?.id])).toEqual([
      ['begin', true],
      ['end', false],
    ])
  })

  it('grow while no Worker has had them, and never after that', () => {
    const { tell: told, send } = outboxOf()
    told(begin('a'))
    told(begin('b'))
    expect(send('failed', 500)).toEqual(['begin breaker_open a b'])
    told(begin('c'))
    told(begin('d'))
    told(end('a'))
    told(begin('e'))
    expect(send('delivered')).toEqual([])
  })

  it('name twenty, and count the rest', () => {
    const { tell: told, take } = outboxOf()
    told(...Array.from({ length: 30 }, (_, i) => begin(`k${i}`)))
    told(begin('late'))
    const message = take()[0]?.messages[0]
    expect(message?.alerts).toHaveLength(MAX_NAMED)
    expect(message?.more).toBe(11)
  })

  it('come in order, the end after its beginning, when a receiver that was down for ten minutes is up', () => {
    const { tell: told, send, wait, queued } = outboxOf()
    const tries: number[] = []
    const meanwhile = new Map([
      [100, [end('a')]],
      [200, [begin('b')]],
      [300, [begin('a')]],
    ])
    told(begin('a'))
    for (let second = 0; second < 600; second += 5) {
      told(...(meanwhile.get(second) ?? []))
      const sent = send('failed', 503)
      if (sent.length > 0) tries.push(second)
      wait(5_000)
    }
    // It backs off, and tries no more than the first message.
    expect(tries).toEqual([0, 5, 35, 155, 455])
    const heard: string[] = []
    for (let minute = 0; minute < 15; minute++) {
      heard.push(...send('delivered', 204))
      wait(MINUTE)
    }
    expect(heard).toEqual(['begin breaker_open a', 'end breaker_open a', 'begin breaker_open b a'])
    expect(queued('ops')).toBe(0)
  })

  it('of one address wait for no other', () => {
    const { tell: told, take, send } = outboxOf()
    told(changeOf('begin', 'key_rejected', 'a'))
    expect(send('failed', 500)).toHaveLength(1)
    told(changeOf('end', 'key_rejected', 'a'))
    expect(take().map(({ to }) => to)).toEqual([])
  })

  it('are given up after a day, which is told of', () => {
    const { tell: told, send, wait, queued, outbox } = outboxOf()
    told(begin('a'))
    for (let minute = 0; minute < 23 * 60; minute++) {
      send('failed', 500)
      wait(MINUTE)
    }
    expect(queued('ops')).toBe(1)
    for (let minute = 0; minute < 4 * 60; minute++) {
      send('failed', 500)
      wait(MINUTE)
    }
    expect(queued('ops')).toBe(0)
    expect(outbox.undelivered).toMatchObject([{ to: 'ops', why: 'too_late' }])
    told(begin('b'))
    expect(send('delivered', 200)).toEqual(['begin breaker_open b'])
  })

  it('go no more to a receiver that says 410, until a day later', () => {
    const { tell: told, send, wait, queued, outbox } = outboxOf()
    told(begin('a'))
    send('gone', 410)
    expect(outbox.undelivered).toMatchObject([{ to: 'ops', why: 'gone' }])
    told(end('a'))
    expect(queued('ops')).toBe(0)
    wait(24 * HOUR)
    told(begin('a'))
    expect(queued('ops')).toBe(1)
  })

  it('are a hundred at most for an address: the oldest are missed, and the next one says how many', () => {
    const { tell: told, take, send, wait, queued, outbox } = outboxOf()
    // Each is another kind than the one before it, so none grows.
    for (let i = 0; i < 120; i++) told(i % 2 === 0 ? begin('a') : end('a'))
    expect(queued('ops')).toBe(100)
    expect(outbox.undelivered).toHaveLength(20)
    expect(take(1)).toHaveLength(1)
    wait(MINUTE)
    const heard: string[] = []
    for (let i = 0; i < 30; i++) heard.push(...send('delivered', 200))
    expect(heard).toHaveLength(100)
    expect(heard.at(-1)).toBe('end breaker_open a (1 missed)')
    expect(heard[0]).toBe('begin breaker_open a')
  })

  it('that fail are due again after five seconds and up to a fifth more', () => {
    const { outbox, tell: told, take, wait } = outboxOf()
    told(begin('a'))
    const [duty] = take()
    const id = duty?.messages[0]?.id ?? ''
    const nowMs = START_MS
    const failed = (random: number) =>
      noteDelivery(
        outbox,
        { to: 'ops', id, kind: 'failed', status: 500 },
        { nowMs, random: () => random },
      )
    failed(1)
    expect(outbox.queues.get('ops')).toMatchObject([{ tries: 1, dueAtMs: nowMs + 6_000 }])
    wait(5_999)
    expect(take()).toEqual([])
    wait(1)
    expect(take()).toHaveLength(1)
  })

  it('that one Worker has are the next one’s only from the moment on when its time is over', () => {
    const { outbox, tell: told, take } = outboxOf()
    told(begin('a'))
    take()
    const [held] = outbox.queues.get('ops') ?? []
    const atMs = held?.takenUntilMs ?? 0
    expect(takeAlertDuties(outbox, 4, atMs - 1)).toEqual([])
    expect(takeAlertDuties(outbox, 0, atMs)).toEqual([])
    expect(takeAlertDuties(outbox, 4, atMs)).toHaveLength(1)
  })

  it('that were tried and failed let those of the same hand go too, and are given up at a day sharp', () => {
    const { outbox, tell: told, take, wait } = outboxOf()
    told(begin('a'), changeOf('begin', 'key_rejected', 'a'))
    const ids = take()[0]?.messages.map(({ id }) => id) ?? []
    const failAt = (nowMs: number) =>
      noteDelivery(
        outbox,
        { to: 'ops', id: ids[0] ?? '', kind: 'failed', status: null },
        { nowMs, random: () => 0 },
      )
    failAt(START_MS + 10)
    expect(outbox.queues.get('ops')?.map(({ takenUntilMs }) => takenUntilMs - START_MS)).toEqual([
      ...[10, 10],
    ])
    wait(24 * HOUR)
    failAt(START_MS + 24 * HOUR - 1)
    expect(outbox.undelivered).toEqual([])
    failAt(START_MS + 24 * HOUR)
    expect(outbox.undelivered.map(({ message: { id }, why }) => [id, why])).toEqual([
      [ids[0], 'too_late'],
    ])
    expect([outbox.size, outbox.queues.get('ops')?.length]).toEqual([2, 1])
  })

  it('are noted as they were reported, the last fifty', () => {
    const { outbox, tell: told, send } = outboxOf()
    for (let i = 0; i < 52; i++) {
      told(i % 2 === 0 ? begin('a') : end('a'))
      send('delivered', 200 + i)
    }
    expect(outbox.notes).toHaveLength(50)
    expect(outbox.notes[0]).toMatchObject({ status: 202, event: 'breaker_open', phase: 'begin' })
    expect(outbox.notes.at(-1)).toMatchObject({
      ...{ to: 'ops', kind: 'delivered', status: 251, phase: 'end', atMs: START_MS },
    })
    expect([outbox.size, outbox.queues.size]).toEqual([0, 0])
  })

  it('have ids of their own, with what was drawn in eight digits each', () => {
    const { tell: told, take } = outboxOf()
    told(begin('a'), changeOf('begin', 'key_rejected', 'a'))
    const ids = take()[0]?.messages.map(({ id }) => id)
    const at = START_MS.toString(36)
    expect(ids).toEqual([`msg_${at}_1_${'0'.repeat(16)}`, `msg_${at}_2_${'0'.repeat(16)}`])
  })

  it('come back after a restart in their order, and grow no more', () => {
    const { outbox, tell: told } = outboxOf()
    told(begin('a'))
    told(end('a'))
    const records = takeDeliveryRecords(outbox)
    expect(takeDeliveryRecords(outbox).size).toBe(0)
    const stored = [...records.values()].filter((record) => record !== null).toReversed()
    const next = createAlertOutbox()
    restoreDeliveries(next, stored)
    const phases = () => next.queues.get('ops')?.map(({ message: { phase } }) => phase)
    expect([phases(), next.size, next.changed.size]).toEqual([['begin', 'end'], 2, 0])
    const to = new Map([['breaker_open', ['ops']]] as const)
    tell(next, { to }, [end('b')], { nowMs: START_MS, random: () => 0 })
    expect([phases(), next.lastNumber]).toEqual([['begin', 'end', 'end'], 3])
  })

  it('cost nothing while there are none, and a report about one that is gone changes nothing', () => {
    const { outbox, take } = outboxOf()
    noteDelivery(
      outbox,
      { to: 'ops', id: 'x', kind: 'failed', status: 1 },
      { nowMs: 1, random: () => 0 },
    )
    expect(take()).toEqual([])
    expect(outbox.changed.size).toBe(0)
  })
})
