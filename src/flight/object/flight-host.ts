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
import type { AnswerHead } from '../answer-head.ts'
import type { CacheDirective } from '../cache-directive.ts'
import { type EventPlace, offsetAfter } from '../event-ids.ts'
import {
  type DurableReply,
  type DurableRequest,
  type FetchReply,
  type FlightReply,
  type FlownRequest,
  type JoinRequest,
  MAX_DURABLE_BYTES,
} from '../flight-protocol.ts'
import { keptHead, mayKeep } from '../kept-answer.ts'
import { MAX_SUBSCRIBERS } from '../subscribers.ts'
import type { AnswerRows } from './answer-rows.ts'
import { fly } from './flown-journey.ts'
import { type GivenAnswer, tellGiven, tellMade } from './given-answer.ts'
import { type Kept, KeptAnswers, SHORT_ANSWER_BYTES } from './kept-answers.ts'
import { createProgressLog, type ProgressLog } from './progress-log.ts'
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

/**
 * What a flight's object does: it makes an answer once, gives it to all who ask for it meanwhile, and
 * keeps it for those who ask later. It has one answer by the name of a cache key, or the durable answers
 * of one client by the ids of their requests.
 */
export class FlightHost {
  readonly #ports: FlightHostPorts
  readonly #running = new Map<string, RunningAnswer>()
  readonly #kept: KeptAnswers

  constructor(parts: FlightHostPorts) {
    this.#ports = parts
    const { idleMs } = parts.gateway.config.policy.timeouts
    this.#kept = new KeptAnswers({ ...parts, idleMs })
  }

  /** Gives a request the answer that is kept or being made, or makes it. */
  async join(join: JoinRequest): Promise<FlightReply> {
    const { request, directive, ttlMs, share } = join
    const kept = ttlMs === null ? null : this.#usable(directive, ttlMs)
    if (kept !== null) {
      const counted = { hits: 1, savedUsd: kept.costUsd ?? 0 }
      return (await this.#refusal(request.caller)) ?? this.#give(kept, request, { counted })
    }
    if (directive.kind === 'only_if_cached') return { kind: 'not_cached' }
    const running = this.#running.get(SHARED)
    if (running === undefined) {
      const body = this.#start(SHARED, request, {
        ...{ maxBytes: join.maxBytes, durableId: null, bodyKey: null },
        keep: (run, report) => tellMade(this.#ports, this.#keepShared(run, report, join)),
      })
      return body === null ? { kind: 'needs_body' } : { kind: 'seat', role: 'miss', body }
    }
    const isFull = running.subscribers.size >= MAX_SUBSCRIBERS
    if (!share || isFull || !running.isWhole()) return { kind: 'bypass' }
    return await this.#sit(running, request, { offset: 0, isCounted: true })
  }

  /** Gives a client its durable answer from some event on, or begins one. */
  async durable(durable: DurableRequest): Promise<DurableReply> {
    const { request, answerId, bodyKey, keepMs, after } = durable
    const running = this.#running.get(answerId)
    const kept = running === undefined ? this.#kept.of(answerId) : null
    const known = running ?? kept
    if (known !== null && known.bodyKey !== bodyKey) return refused(OTHER_BODY)
    if (running !== undefined) return await this.#resume(running, request, after)
    // Who asks anew for an answer that was cut wants a whole one.
    const mayBegin = after === null && keepMs !== null
    if (kept !== null && !(mayBegin && kept.cutPath !== null)) {
      const offset = placeInKept(kept, after)
      const refusal = await this.#refusal(request.caller)
      return refusal ?? this.#give(kept, request, { offset, counted: null })
    }
    if (!mayBegin) return { kind: 'gone' }
    if (this.#running.size >= MAX_DURABLE_RUNNING) return refused(TOO_MANY)
    const body = this.#start(answerId, request, {
      ...{ maxBytes: MAX_DURABLE_BYTES, durableId: answerId, bodyKey },
      ...{ progress: this.#progressOf(durable, keepMs) },
      keep: (run) => this.#keepDurable(run, answerId, keepMs),
    })
    return body === null ? { kind: 'needs_body' } : { kind: 'seat', role: 'miss', body }
  }

  async #resume(
    running: RunningAnswer,
    request: FlownRequest,
    after: EventPlace | null,
  ): Promise<DurableReply> {
    if (!running.isWhole()) return { kind: 'gone' }
    const { head, subscribers } = running
    const offset = head === null ? 0 : placeIn(head, after, () => subscribers.buffer.whole())
    return await this.#sit(running, request, { offset, isCounted: false })
  }

  /** What has become of a durable answer. */
  fetchAnswer(answerId: string, after: EventPlace | null): FetchReply {
    if (this.#running.has(answerId)) return { kind: 'running' }
    const kept = this.#kept.of(answerId)
    if (kept === null) return { kind: 'gone' }
    const { head, bytes } = kept
    return { kind: 'kept', head, body: bytes.slice(placeInKept(kept, after)) }
  }

  /** Somebody does not wait any more. Safe to call for one that is not known. */
  leave(seat: string): void {
    for (const { subscribers } of this.#running.values()) subscribers.leave(seat)
    this.#kept.leave(seat)
  }

  /** Drops what is over. @returns whether nothing is left */
  dropExpired(): boolean {
    return this.#kept.dropExpired()
  }

  /** Takes a place among those who get an answer that is being made, if the client's limits allow it. */
  async #sit(
    running: RunningAnswer,
    request: FlownRequest,
    { offset, isCounted }: { readonly offset: number; readonly isCounted: boolean },
  ): Promise<FlightReply> {
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
        const savedUsd = report?.outcome === 'answered' ? (report.usage?.costUsd ?? 0) : 0
        const counted = isCounted ? { joins: 1, savedUsd } : null
        tellGiven(this.#ports, request, { role: 'joined', status, how, report, counted })
      }),
    )
    return { kind: 'seat', role: 'joined', body }
  }

  #give(
    kept: Kept,
    request: FlownRequest,
    { offset = 0, counted }: Pick<GivenAnswer, 'counted'> & { readonly offset?: number },
  ): FlightReply {
    const { ports } = this.#ports
    const { head, bytes, subscribers } = kept
    const ageMs = ports.nowMs() - kept.storedAtMs
    const given = { role: 'hit', status: head.status, report: null, counted } as const
    if (bytes.length - offset <= SHORT_ANSWER_BYTES) {
      tellGiven(this.#ports, request, { ...given, how: 'read' })
      return { kind: 'kept', head, body: bytes.subarray(offset), ageMs }
    }
    if (subscribers.size >= MAX_SUBSCRIBERS) return { kind: 'bypass' }
    const body = subscribers.subscribe({
      ...{ seat: request.seat, clientId: request.caller.id, offset },
      onEnd: (how) => tellGiven(this.#ports, request, { ...given, how }),
    })
    this.#kept.noteReaders(subscribers)
    return { kind: 'seat', role: 'hit', body, ageMs }
  }

  /** @returns the stream of whoever asked first; null without a body */
  #start(
    id: string,
    request: FlownRequest,
    terms: {
      readonly maxBytes: number
      readonly durableId: string | null
      readonly bodyKey: string | null
      readonly progress?: ProgressLog
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
          this.#kept.noteReaders(run.subscribers)
          run.close(report)
        }),
    )
    return stream
  }

  /** @returns how many bytes of it are kept */
  #keepShared(run: RunningAnswer, report: JourneyReport | null, join: JoinRequest): number {
    const { ttlMs, maxBytes, request } = join
    const { head } = run
    const { buffer } = run.subscribers
    const shape = API_SHAPES.find(({ path }) => path === request.path)
    if (ttlMs === null || head === null || shape === undefined) return 0
    if (report?.outcome !== 'answered' || !run.isKeepable() || buffer.length > maxBytes) return 0
    // A fallback's answer is better than none, and worse than the one to come.
    if (!this.#isOfAskedModel(request, report)) return 0
    const bytes = buffer.whole()
    if (!mayKeep(shape, head, bytes)) return 0
    const costUsd = report.usage?.costUsd ?? null
    this.#kept.keep(SHARED, { head: keptHead(head), bytes, bodyKey: null, costUsd }, ttlMs)
    return bytes.length
  }

  #isOfAskedModel({ model }: FlownRequest, { attempts }: JourneyReport): boolean {
    const sent = attempts.at(-1)?.model
    const { aliases } = this.#ports.gateway.config.policy
    return sent === model || sent === aliases.get(model)
  }

  #progressOf({ answerId, bodyKey, request }: DurableRequest, keepMs: number): ProgressLog {
    const { ports, gateway } = this.#ports
    const storedAtMs = ports.nowMs()
    const longestMs = Math.max(
      ...gateway.config.policy.routes.map(({ timeouts }) => timeouts.totalMs),
    )
    const expiresAtMs = storedAtMs + longestMs + keepMs
    return createProgressLog(
      this.#kept.log(),
      answerId,
      { storedAtMs, expiresAtMs, bodyKey, cutPath: request.path },
      ports.nowMs,
    )
  }

  /** A durable answer is kept however it ended: its client has to learn that. */
  #keepDurable(run: RunningAnswer, answerId: string, keepMs: number): void {
    const { head, bodyKey } = run
    const { buffer } = run.subscribers
    if (head === null || !run.isWhole() || buffer.end !== 'complete') this.#kept.drop(answerId)
    else this.#kept.keep(answerId, { head, bytes: buffer.whole(), bodyKey, costUsd: null }, keepMs)
  }

  #usable(directive: CacheDirective, ttlMs: number): Kept | null {
    if (directive.kind === 'refresh') return null
    const kept = this.#kept.of(SHARED)
    if (kept === null) return null
    const ageMs = this.#ports.ports.nowMs() - kept.storedAtMs
    // The route may say less now than it did when the answer was kept.
    const mostMs = directive.kind === 'max_age' ? Math.min(ttlMs, directive.ms) : ttlMs
    return ageMs > mostMs || ageMs === ttlMs ? null : kept
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

function placeInKept({ head, bytes, lastOffset }: Kept, after: EventPlace | null): number {
  return Math.min(
    lastOffset,
    placeIn(head, after, () => bytes),
  )
}

/** Only a stream of events has places. */
function placeIn(
  { headers }: AnswerHead,
  after: EventPlace | null,
  bytes: () => Uint8Array,
): number {
  const isStream = /^text\/event-stream\b/i.test(headers['content-type'] ?? '')
  return after === null || !isStream ? 0 : offsetAfter(bytes(), after.events)
}
