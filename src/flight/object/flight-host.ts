import type { Caller } from '../../balancing/clients/caller.ts'
import {
  type GatewayError,
  gatewayError,
  poolUnavailable,
} from '../../gateway/answers/gateway-error.ts'
import { quotaError } from '../../gateway/answers/quota-error.ts'
import type { JourneyReport } from '../../gateway/inference-request.ts'
import type { Ports } from '../../gateway/ports.ts'
import type { Gateway } from '../../http/composition-root.ts'
import { logBug } from '../../http/log.ts'
import { API_SHAPES } from '../../openrouter/shapes/shape-registry.ts'
import { bufferOf } from '../answer-buffer.ts'
import type { AnswerHead } from '../answer-head.ts'
import type { CacheDirective } from '../cache-directive.ts'
import { type EventPlace, offsetAfter } from '../event-ids.ts'
import {
  type DurableReply,
  type DurableRequest,
  type FetchReply,
  type FlightReply,
  type FlightRole,
  type FlownRequest,
  type JoinRequest,
  MAX_DURABLE_BYTES,
} from '../flight-protocol.ts'
import { keptHead, mayKeep } from '../kept-answer.ts'
import { AnswerSubscribers, MAX_SUBSCRIBERS } from '../subscribers.ts'
import type { AnswerRows, KeptAnswer } from './answer-rows.ts'
import { fly } from './flown-journey.ts'
import { logGiven } from './given-answer.ts'
import { RunningAnswer } from './running-answer.ts'

export interface FlightHostPorts {
  readonly ports: Ports
  readonly gateway: Gateway
  readonly rows: AnswerRows
  /** Keeps the object in memory until the work is done. */
  background(work: Promise<unknown>): void
  setAlarm(atMs: number): void
}

/** The one answer of an object that has the name of a cache key. */
const SHARED = 'shared'

/** How many durable answers of one client run at the same time. */
const MAX_DURABLE_RUNNING = 4

/** A shorter answer travels in the reply itself. */
const SHORT_ANSWER_BYTES = 64 * 1024

interface Kept extends KeptAnswer {
  readonly subscribers: AnswerSubscribers
}

/**
 * What a flight's object does: it makes an answer once, gives it to all who ask for it meanwhile, and
 * keeps it for those who ask later. It has one answer by the name of a cache key, or the durable answers
 * of one client by the ids of their requests.
 */
export class FlightHost {
  readonly #ports: FlightHostPorts
  readonly #running = new Map<string, RunningAnswer>()
  /** Copies of what lies in the rows; null for what does not. */
  readonly #kept = new Map<string, Kept | null>()
  /** All whose bytes somebody still reads. */
  readonly #read = new Set<AnswerSubscribers>()

  constructor(ports: FlightHostPorts) {
    this.#ports = ports
  }

  /** Gives a request the answer that is kept or being made, or makes it. */
  async join(join: JoinRequest): Promise<FlightReply> {
    const { request, directive, ttlMs, share } = join
    const kept = ttlMs === null ? null : this.#usable(directive, ttlMs)
    if (kept !== null) {
      return (await this.#refusal(request.caller)) ?? this.#give(kept, request, { role: 'hit' })
    }
    if (directive.kind === 'only_if_cached') return { kind: 'not_cached' }
    const running = this.#running.get(SHARED)
    if (running === undefined) {
      const body = this.#start(SHARED, request, {
        ...{ maxBytes: join.maxBytes, durableId: null, bodyKey: null },
        keep: (run, report) => this.#keepShared(run, report, join),
      })
      return body === null ? { kind: 'needs_body' } : { kind: 'seat', role: 'miss', body }
    }
    const isFull = running.subscribers.size >= MAX_SUBSCRIBERS
    if (!share || isFull || !running.isWhole()) return { kind: 'bypass' }
    return await this.#sit(running, request, 0)
  }

  /** Gives a client its durable answer from some event on, or begins one. */
  async durable(durable: DurableRequest): Promise<DurableReply> {
    const { request, answerId, bodyKey, keepMs, after } = durable
    const running = this.#running.get(answerId)
    const known = running ?? this.#keptOf(answerId)
    if (known !== null && known.bodyKey !== bodyKey) return refused(OTHER_BODY)
    if (running !== undefined) {
      if (!running.isWhole()) return { kind: 'gone' }
      const { head, subscribers } = running
      const place = head === null ? 0 : placeIn(head, after, () => subscribers.buffer.whole())
      return await this.#sit(running, request, place)
    }
    if (known !== null && 'bytes' in known) {
      const offset = placeIn(known.head, after, () => known.bytes)
      const refusal = await this.#refusal(request.caller)
      return refusal ?? this.#give(known, request, { role: 'hit', offset })
    }
    if (after !== null || keepMs === null) return { kind: 'gone' }
    if (this.#running.size >= MAX_DURABLE_RUNNING) return refused(TOO_MANY)
    const body = this.#start(answerId, request, {
      ...{ maxBytes: MAX_DURABLE_BYTES, durableId: answerId, bodyKey },
      keep: (run) => this.#keepDurable(run, answerId, keepMs),
    })
    return body === null ? { kind: 'needs_body' } : { kind: 'seat', role: 'miss', body }
  }

  /** What has become of a durable answer. */
  fetchAnswer(answerId: string, after: EventPlace | null): FetchReply {
    if (this.#running.has(answerId)) return { kind: 'running' }
    const kept = this.#keptOf(answerId)
    if (kept === null) return { kind: 'gone' }
    const { head, bytes } = kept
    return { kind: 'kept', head, body: bytes.slice(placeIn(head, after, () => bytes)) }
  }

  /** Somebody does not wait any more. Safe to call for one that is not known. */
  leave(seat: string): void {
    for (const { subscribers } of this.#running.values()) subscribers.leave(seat)
    for (const subscribers of this.#read) subscribers.leave(seat)
  }

  /** Drops what is over. @returns whether nothing is left */
  dropExpired(): boolean {
    const nextMs = this.#ports.rows.dropExpired(this.#ports.ports.nowMs())
    this.#kept.clear()
    if (nextMs !== null) this.#ports.setAlarm(nextMs)
    return nextMs === null
  }

  /** Takes a place among those who get an answer that is being made, if the client's limits allow it. */
  async #sit(running: RunningAnswer, request: FlownRequest, offset: number): Promise<FlightReply> {
    const { subscribers, ended } = running
    const end = Promise.withResolvers<'read' | 'left'>()
    // At once: the answer must not end, or be given up, while the limits are asked.
    const body = subscribers.subscribe({
      ...{ seat: request.seat, clientId: request.caller.id, offset },
      onEnd: end.resolve,
    })
    const refusal = await this.#refusal(request.caller)
    if (refusal !== null) {
      subscribers.leave(request.seat)
      return refusal
    }
    this.#ports.background(
      end.promise.then(async (how) => {
        // Who was sent away asks again, and has his line then.
        if (running.isNotFor(request.caller.id)) return
        const report = how === 'read' ? await ended : null
        const status = running.head?.status ?? null
        logGiven(this.#ports.ports, request, { role: 'joined', status, how, report })
      }),
    )
    return { kind: 'seat', role: 'joined', body }
  }

  #give(
    kept: Kept,
    request: FlownRequest,
    { role, offset = 0 }: { readonly role: FlightRole; readonly offset?: number },
  ): FlightReply {
    const { ports } = this.#ports
    const { head, bytes, subscribers } = kept
    const ageMs = ports.nowMs() - kept.storedAtMs
    const given = { role, status: head.status, report: null }
    if (bytes.length - offset <= SHORT_ANSWER_BYTES) {
      logGiven(ports, request, { ...given, how: 'read' })
      return { kind: 'kept', head, body: bytes.subarray(offset), ageMs }
    }
    if (subscribers.size >= MAX_SUBSCRIBERS) return { kind: 'bypass' }
    this.#read.add(subscribers)
    const body = subscribers.subscribe({
      ...{ seat: request.seat, clientId: request.caller.id, offset },
      onEnd: (how) => logGiven(ports, request, { ...given, how }),
    })
    return { kind: 'seat', role, body, ageMs }
  }

  /** @returns the stream of whoever asked first; null without a body */
  #start(
    id: string,
    request: FlownRequest,
    terms: {
      readonly maxBytes: number
      readonly durableId: string | null
      readonly bodyKey: string | null
      readonly keep: (run: RunningAnswer, report: JourneyReport | null) => void
    },
  ): ReadableStream<Uint8Array> | null {
    const { body } = request
    const shape = API_SHAPES.find(({ path }) => path === request.path)
    if (body === null || shape === undefined) return null
    const { ports, gateway, background } = this.#ports
    const { idleMs } = gateway.config.policy.timeouts
    const forget = () => {
      if (this.#running.get(id) === run) this.#running.delete(id)
    }
    const run = new RunningAnswer({
      ...{ ports, held: gateway.memory.open(), idleMs, ...terms },
      onClosed: forget,
    })
    this.#running.set(id, run)
    const { seat, caller } = request
    const stream = run.subscribers.subscribe({ seat, clientId: caller.id })
    const { signal } = run
    const journey = { gateway, shape, request: { ...request, body }, signal, sink: run, background }
    background(
      fly(journey)
        .then((report) => {
          terms.keep(run, report)
          return report
        })
        .catch((bug: unknown) => {
          // Nothing is kept, but nobody is left waiting.
          logBug(request.requestId, bug)
          return null
        })
        .then((report) => {
          forget()
          this.#read.add(run.subscribers)
          run.close(report)
          this.#forgetRead()
        }),
    )
    return stream
  }

  #forgetRead(): void {
    for (const subscribers of this.#read) {
      if (subscribers.size === 0) this.#read.delete(subscribers)
    }
  }

  #keepShared(run: RunningAnswer, report: JourneyReport | null, join: JoinRequest): void {
    const { ttlMs, maxBytes, request } = join
    const { head } = run
    const { buffer } = run.subscribers
    const shape = API_SHAPES.find(({ path }) => path === request.path)
    if (ttlMs === null || head === null || shape === undefined) return
    if (report?.outcome !== 'answered' || !run.isKeepable() || buffer.length > maxBytes) return
    const bytes = buffer.whole()
    if (mayKeep(shape, head, bytes)) {
      this.#keep(SHARED, { head: keptHead(head), bytes, bodyKey: null }, ttlMs)
    }
  }

  /** A durable answer is kept however it ended: its client has to learn that. */
  #keepDurable(run: RunningAnswer, answerId: string, keepMs: number): void {
    const { head, bodyKey } = run
    if (head === null || !run.isWhole() || run.subscribers.buffer.end !== 'complete') return
    this.#keep(answerId, { head, bytes: run.subscribers.buffer.whole(), bodyKey }, keepMs)
  }

  #keep(id: string, answer: Pick<KeptAnswer, 'head' | 'bytes' | 'bodyKey'>, forMs: number): void {
    const { ports, rows } = this.#ports
    const storedAtMs = ports.nowMs()
    const kept = { ...answer, storedAtMs, expiresAtMs: storedAtMs + forMs }
    rows.write(id, kept)
    this.#kept.delete(id)
    const nextMs = rows.dropExpired(storedAtMs)
    if (nextMs !== null) this.#ports.setAlarm(nextMs)
  }

  #usable(directive: CacheDirective, ttlMs: number): Kept | null {
    if (directive.kind === 'refresh') return null
    const kept = this.#keptOf(SHARED)
    if (kept === null) return null
    const ageMs = this.#ports.ports.nowMs() - kept.storedAtMs
    // The route may say less now than it did when the answer was kept.
    const mostMs = directive.kind === 'max_age' ? Math.min(ttlMs, directive.ms) : ttlMs
    return ageMs > mostMs || ageMs === ttlMs ? null : kept
  }

  /** What is kept under a name, and not over. */
  #keptOf(id: string): Kept | null {
    let kept = this.#kept.get(id)
    if (kept === undefined) {
      const stored = this.#ports.rows.read(id)
      kept = stored === null ? null : this.#copyOf(id, stored)
      this.#kept.set(id, kept)
    }
    return kept === null || this.#ports.ports.nowMs() >= kept.expiresAtMs ? null : kept
  }

  /** A long one is in memory only while somebody reads it: an isolate has many of these objects. */
  #copyOf(id: string, stored: KeptAnswer): Kept {
    const { ports, gateway } = this.#ports
    const { idleMs } = gateway.config.policy.timeouts
    const onEmpty = () => {
      this.#forgetRead()
      if (stored.bytes.length > SHORT_ANSWER_BYTES) this.#kept.delete(id)
    }
    const subscribers = new AnswerSubscribers({ ports, idleMs, onEmpty }, bufferOf(stored.bytes))
    subscribers.begin(() => ({ kind: 'answer', ...stored.head }))
    return { ...stored, subscribers }
  }

  /** Judges a request that costs nothing by its client's limits; null if they admit it. */
  async #refusal({ id, isLimited, budget }: Caller): Promise<Refused | null> {
    if (!isLimited) return null
    const { gateway, ports } = this.#ports
    const answer = await gateway.pool.visit({ version: 1, visits: [{ clientId: id }] })
    if (answer.kind === 'answer') {
      const [refusal = null] = answer.value.refusals
      return refusal === null ? null : refused(quotaError(refusal, ports.nowMs()))
    }
    const isOpen = gateway.config.policy.onPoolUnavailable === 'open' && budget === null
    return isOpen ? null : refused(poolUnavailable(UNKNOWN_LIMITS))
  }
}

type Refused = Extract<FlightReply, { kind: 'refused' }>

const refused = (error: GatewayError): Refused => ({ kind: 'refused', error })

const UNKNOWN_LIMITS =
  'The limits of this client key cannot be checked now. Try again after Retry-After.'

const OTHER_BODY = gatewayError(
  'invalid_request',
  'There is a durable answer with this request id, to another body. Send another x-request-id.',
)

const TOO_MANY = gatewayError(
  'client_rate_limited',
  `This client has ${MAX_DURABLE_RUNNING} durable answers running. Try again when one of them has ended.`,
  { retryAfterMs: 1_000 },
)

/** Only a stream of events has places. */
function placeIn(
  { headers }: AnswerHead,
  after: EventPlace | null,
  bytes: () => Uint8Array,
): number {
  const isStream = /^text\/event-stream\b/i.test(headers['content-type'] ?? '')
  return after === null || !isStream ? 0 : offsetAfter(bytes(), after.events)
}
