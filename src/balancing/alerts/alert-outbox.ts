import type { Random } from '../random.ts'
import type { AlertChange } from './alert.ts'
import type { AlertPolicy } from './alert-policy.ts'

/** One alert in a message, as it is told. */
export interface ToldAlert {
  readonly subject: string
  readonly sinceMs: number
  readonly facts: AlertChange['alert']['facts']
}

/** What one address is told: alerts of one event that begin, or end, together. */
export interface AlertMessage {
  /** The same at each try, so that a receiver can drop a twin. */
  readonly id: string
  readonly event: AlertChange['alert']['event']
  readonly phase: AlertChange['phase']
  readonly atMs: number
  /** At most `MAX_NAMED`. */
  readonly alerts: readonly ToldAlert[]
  /** How many there are besides. */
  readonly more: number
  /** How many messages were given up before this one, for want of room. */
  readonly missed: number
}

/** A message to one address. */
export interface Delivery {
  readonly to: string
  /** In the order of the messages. */
  readonly number: number
  readonly message: AlertMessage
  readonly tries: number
  /** When it may be tried, in epoch milliseconds. */
  readonly dueAtMs: number
  /** Until when a Worker has it; 0 if none has had it, so that its message may still grow. */
  readonly takenUntilMs: number
}

/** Messages that only this Worker gets: send them to the address in this order, up to the first failure. */
export interface AlertDuty {
  readonly to: string
  readonly messages: readonly AlertMessage[]
}

/** What became of one message. `gone`: the receiver wants no more (410). */
export interface DeliveryReport {
  readonly to: string
  readonly id: string
  readonly kind: 'delivered' | 'failed' | 'gone'
  /** Null if no answer came. */
  readonly status: number | null
}

/** A message that its address never gets, and why. */
export interface Undelivered {
  readonly to: string
  readonly message: AlertMessage
  readonly why: 'too_many' | 'too_late' | 'gone'
}

/** The latest reports, for operators. */
export interface DeliveryNote extends DeliveryReport {
  readonly atMs: number
  readonly event: AlertMessage['event']
  readonly phase: AlertMessage['phase']
}

/** What is to be delivered. */
export interface AlertOutbox {
  /** By address, the oldest first. */
  readonly queues: Map<string, Delivery[]>
  /** By the message's id, those whose rows have to be written, or, if they are gone, dropped. */
  readonly changed: Set<string>
  /** Until when an address that has said 410 is left alone. In memory only: a new address is tried. */
  readonly goneUntilMs: Map<string, number>
  readonly notes: DeliveryNote[]
  /** Those that nobody was told of yet. */
  undelivered: Undelivered[]
  lastNumber: number
  /** The number of messages in all queues. */
  size: number
}

/** More names make no message clearer, and Discord takes 2,000 characters. */
export const MAX_NAMED = 20
/** Of one address: a receiver that is down for a day while everything comes and goes. */
const MAX_QUEUE = 100
const MAX_NOTES = 50
const GIVE_UP_MS = 24 * 60 * 60_000
const REST_OF_GONE_MS = 24 * 60 * 60_000
/** Longer than a Worker needs for the messages of one duty. */
const TERM_MS = 40_000

const SECOND = 1_000
const MINUTE = 60_000
/** How long after each failure a message is tried again; after the last one, always so long. */
const BACKOFF_MS = [
  ...[5 * SECOND, 30 * SECOND, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE],
  ...[30 * MINUTE, 60 * MINUTE, 120 * MINUTE],
] as const
const MAX_JITTER = 0.2

export function createAlertOutbox(): AlertOutbox {
  return {
    queues: new Map(),
    changed: new Set(),
    goneUntilMs: new Map(),
    notes: [],
    undelivered: [],
    lastNumber: 0,
    size: 0,
  }
}

/** What a decision about messages needs besides them. */
interface Moment {
  readonly nowMs: number
  readonly random: Random
}

/** Puts what has begun and ended into the queues: one message for all of one event. */
export function tell(
  outbox: AlertOutbox,
  { to }: Pick<AlertPolicy, 'to'>,
  changes: readonly AlertChange[],
  moment: Moment,
): void {
  const together = Map.groupBy(changes, ({ phase, alert }) => `${phase} ${alert.event}`)
  for (const group of together.values()) {
    const [first] = group
    for (const address of (first && to.get(first.alert.event)) ?? []) {
      if ((outbox.goneUntilMs.get(address) ?? 0) > moment.nowMs) continue
      put(outbox, address, group, moment)
    }
  }
}

/**
 * A message that no Worker has had grows by what comes later, unless something else of its event was
 * told since. While a receiver is down, few messages wait for it.
 */
function put(
  outbox: AlertOutbox,
  to: string,
  changes: readonly AlertChange[],
  { nowMs, random }: Moment,
): void {
  const [first] = changes
  if (first === undefined) return
  const { phase } = first
  const { event } = first.alert
  const queue = outbox.queues.get(to) ?? []
  outbox.queues.set(to, queue)
  const at = queue.findLastIndex(({ message }) => message.event === event)
  const last = queue[at]
  if (last !== undefined && last.takenUntilMs === 0 && last.message.phase === phase) {
    replace(outbox, { ...last, message: grown(last.message, changes) })
    return
  }
  const missed = queue.length < MAX_QUEUE ? 0 : dropOldest(outbox, queue)
  outbox.lastNumber += 1
  const id = `msg_${nowMs.toString(36)}_${outbox.lastNumber}_${hex(random)}${hex(random)}`
  const bare = { id, event, phase, atMs: nowMs, alerts: [], more: 0, missed }
  const message = grown(bare, changes)
  queue.push({ to, number: outbox.lastNumber, message, tries: 0, dueAtMs: 0, takenUntilMs: 0 })
  outbox.changed.add(id)
  outbox.size += 1
}

const hex = (random: Random): string =>
  Math.floor(random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0')

function grown(message: AlertMessage, changes: readonly AlertChange[]): AlertMessage {
  const told = changes.map(({ alert: { subject, sinceMs, facts } }) => ({
    subject,
    sinceMs,
    facts,
  }))
  const alerts = [...message.alerts, ...told]
  const more = message.more + Math.max(0, alerts.length - MAX_NAMED)
  return { ...message, alerts: alerts.slice(0, MAX_NAMED), more }
}

/** @returns how many messages the address has missed then */
function dropOldest(outbox: AlertOutbox, [oldest]: readonly Delivery[]): number {
  if (oldest === undefined) return 0
  remove(outbox, oldest, 'too_many')
  return oldest.message.missed + 1
}

function replace({ queues, changed }: AlertOutbox, delivery: Delivery): void {
  const queue = queues.get(delivery.to) ?? []
  const at = queue.findIndex(({ number }) => number === delivery.number)
  if (at === -1) return
  queue[at] = delivery
  changed.add(delivery.message.id)
}

function remove(outbox: AlertOutbox, { to, message }: Delivery, why?: Undelivered['why']): void {
  const queue = outbox.queues.get(to) ?? []
  const at = queue.findIndex(({ message: { id } }) => id === message.id)
  if (at === -1) return
  queue.splice(at, 1)
  if (queue.length === 0) outbox.queues.delete(to)
  outbox.changed.add(message.id)
  outbox.size -= 1
  if (why !== undefined) outbox.undelivered.push({ to, message, why })
}

/**
 * Hands out what is due, to one Worker at a time for each address, in order. After a failure the
 * oldest message alone is the test. Costs a comparison while there is nothing to deliver.
 */
export function takeAlertDuties(outbox: AlertOutbox, most: number, nowMs: number): AlertDuty[] {
  if (outbox.size === 0 || most === 0) return []
  const duties: AlertDuty[] = []
  for (const [to, queue] of outbox.queues) {
    const [oldest] = queue
    if (oldest === undefined || queue.some(({ takenUntilMs }) => takenUntilMs > nowMs)) continue
    if (oldest.dueAtMs > nowMs) continue
    const taken = queue.slice(0, oldest.tries === 0 ? most : 1)
    for (const [at, delivery] of taken.entries()) {
      queue[at] = { ...delivery, takenUntilMs: nowMs + TERM_MS }
    }
    duties.push({ to, messages: taken.map(({ message }) => message) })
  }
  return duties
}

/** Learns what became of a message. A report about one that is gone already changes nothing. */
export function noteDelivery(outbox: AlertOutbox, report: DeliveryReport, moment: Moment): void {
  const queue = outbox.queues.get(report.to) ?? []
  const delivery = queue.find(({ message: { id } }) => id === report.id)
  if (delivery === undefined) return
  const { event, phase } = delivery.message
  outbox.notes.push({ ...report, atMs: moment.nowMs, event, phase })
  if (outbox.notes.length > MAX_NOTES) outbox.notes.shift()
  switch (report.kind) {
    case 'delivered':
      remove(outbox, delivery)
      return
    case 'gone':
      outbox.goneUntilMs.set(report.to, moment.nowMs + REST_OF_GONE_MS)
      for (const one of [...queue]) remove(outbox, one, 'gone')
      return
    case 'failed':
      putOff(outbox, queue, delivery, moment)
  }
}

/** Those after it wait as well: an address hears everything in order. */
function putOff(
  outbox: AlertOutbox,
  queue: Delivery[],
  delivery: Delivery,
  { nowMs, random }: Moment,
): void {
  const tries = delivery.tries + 1
  for (const [at, other] of queue.entries()) {
    if (other.takenUntilMs > nowMs) queue[at] = { ...other, takenUntilMs: nowMs }
  }
  if (nowMs - delivery.message.atMs >= GIVE_UP_MS) {
    remove(outbox, delivery, 'too_late')
    return
  }
  const baseMs = BACKOFF_MS[Math.min(tries, BACKOFF_MS.length) - 1] ?? 0
  const dueAtMs = nowMs + baseMs * (1 + MAX_JITTER * random())
  replace(outbox, { ...delivery, tries, dueAtMs, takenUntilMs: nowMs })
}

/** What is stored of a message: null if it is delivered or given up. */
export function takeDeliveryRecords(outbox: AlertOutbox): ReadonlyMap<string, Delivery | null> {
  if (outbox.changed.size === 0) return NOTHING
  const all = new Map([...outbox.queues.values()].flat().map((one) => [one.message.id, one]))
  const records = new Map([...outbox.changed].map((id) => [id, all.get(id) ?? null] as const))
  outbox.changed.clear()
  return records
}

const NOTHING: ReadonlyMap<string, Delivery | null> = new Map<string, Delivery | null>()

/**
 * Puts the stored messages back. An earlier life may have handed any of them out, so none grows any
 * more: a receiver that has had the message drops what comes later under its id.
 */
export function restoreDeliveries(outbox: AlertOutbox, deliveries: readonly Delivery[]): void {
  for (const delivery of deliveries.toSorted((a, b) => a.number - b.number)) {
    const queue = outbox.queues.get(delivery.to) ?? []
    outbox.queues.set(delivery.to, queue)
    queue.push({ ...delivery, takenUntilMs: HAD })
    outbox.lastNumber = Math.max(outbox.lastNumber, delivery.number)
    outbox.size += 1
  }
}

/** A moment that is long past: a Worker may have had it. */
const HAD = 1
