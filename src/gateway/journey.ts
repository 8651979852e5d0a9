import type { KeyId } from '../balancing/ids.ts'
import type { Refusal } from '../balancing/lease-request.ts'
import type { Settlement, Usage } from '../balancing/settlement.ts'
import { type Blame, blame, NOBODY } from '../openrouter/failures/blame.ts'
import type { UpstreamFailure } from '../openrouter/failures/upstream-failure.ts'
import { clientHeaders, upstreamHeaders } from '../openrouter/headers.ts'
import { type ClientReply, createClientReply } from './answers/client-reply.ts'
import { answerOf, gatewayError, noticeOf } from './answers/gateway-error.ts'
import { createTimings, serverTiming, type Timings } from './answers/timings.ts'
import { type Attempt, attempt, type CommittedStream, isEventStream } from './attempts/attempt.ts'
import { AttemptHistory, type FailedAttempt } from './attempts/attempt-history.ts'
import {
  type Observation,
  observationOf,
  settlementsOf,
  UNUSED,
  usageOf,
} from './attempts/attempt-settlement.ts'
import { redactErrorEvents } from './attempts/error-events.ts'
import { type NextStep, nextStep, REPEAT_KEY } from './attempts/next-step.ts'
import { type RelayEnds, relay, relayBytes, type StreamEnd } from './attempts/relay.ts'
import { createUpstreamCall, type UpstreamCall } from './attempts/upstream-call.ts'
import { asEvent, type FinalAnswer, finalAnswer, withoutSecrets } from './final-answer.ts'
import type {
  InferenceRequest,
  Journey,
  JourneyContext,
  JourneyReport,
} from './inference-request.ts'
import { type Acquired, isWithoutKey, type Leased } from './leases/lease-broker.ts'
import { sleep } from './ports.ts'

/** A lease ends this long after its request's deadline. It never expires during a live call. */
const LEASE_GRACE_MS = 10_000

/** During a deployment the pool may grant keys that this Worker does not know. */
const MAX_UNKNOWN_KEYS = 10

/**
 * Runs one request's journey: lease a key, call upstream, read the answer, then either answer the
 * client or make the next attempt. The loop itself decides nothing: it passes on what `blame`,
 * `nextStep`, `finalAnswer` and the pool decide.
 */
export function startJourney(context: JourneyContext, request: InferenceRequest): Journey {
  const journey = new JourneyInProgress(context, request)
  const { response, taken } = journey.reply
  return { response, finished: journey.run(), taken }
}

class JourneyInProgress {
  readonly #context: JourneyContext
  readonly #request: InferenceRequest
  readonly #timings: Timings
  readonly #history: AttemptHistory
  readonly #gone = new AbortController()
  readonly reply: ClientReply
  readonly #onGone = () => {
    this.#gone.abort()
    this.#call?.stop('client_gone')
    this.reply.abandon()
  }
  #call: UpstreamCall | null = null
  /** The current lease, until its settlement is made. */
  #held: Leased | null = null
  /** Settlements that are being sent. The journey waits for them only at its end. */
  readonly #settling: Promise<void>[] = []
  #lastKey: KeyId | null = null
  #observation: Observation = {}
  #degraded = false
  #usage: Usage | null = null
  #told: Pick<JourneyReport, 'status' | 'error'> = { status: null, error: null }

  constructor(context: JourneyContext, request: InferenceRequest) {
    this.#context = context
    this.#request = request
    this.#history = new AttemptHistory(request.models)
    this.#timings = createTimings(request.authMs)
    this.reply = createClientReply(context.ports, this.#decorate, this.#onGone)
    if (request.signal.aborted) this.#onGone()
    request.signal.addEventListener('abort', this.#onGone)
  }

  async run(): Promise<JourneyReport> {
    try {
      const outcome = await this.#attemptUntilDone()
      await Promise.all(this.#settling)
      return this.#report(outcome)
    } catch (error) {
      // A bug in the gateway. The client still gets an answer, the pool gets its lease back, and
      // the caller of `run` gets the error for the log.
      const answer = gatewayError('internal_error', 'The gateway failed. Try again.')
      const owed = this.#held === null ? [] : this.#endOf(this.#held, NOBODY, null)
      this.#call?.close()
      const answered = this.#answer({ kind: 'ours', error: answer }).catch((bug) =>
        this.reply.fail(bug),
      )
      await Promise.all([answered, this.#context.leases.settle(owed)])
      throw error
    } finally {
      this.#request.signal.removeEventListener('abort', this.#onGone)
      this.reply.close()
      this.#call?.close()
      this.#request.body.letGo()
    }
  }

  async #attemptUntilDone(): Promise<JourneyReport['outcome']> {
    let step: Again | null = null
    let settlements: readonly Settlement[] = []
    for (let unknownKeys = 0; unknownKeys < MAX_UNKNOWN_KEYS && !this.#gone.signal.aborted; ) {
      const acquired = await this.#acquire(step, settlements)
      settlements = []
      if (acquired.kind !== 'leased') {
        return await this.#conclude(acquired.kind === 'refused' ? acquired.refusal : null, [])
      }
      this.#held = acquired
      this.#history.lease(acquired.keyId, acquired.model)
      const secret = this.#context.ring.secret(acquired.keyId)
      if (secret === null) {
        unknownKeys += 1
        settlements = this.#endOf(acquired, NOBODY, UNUSED)
        // This lease's grant has already paid for the step. The next lease must not pay again.
        step = null
        continue
      }
      const result = await this.#try(acquired, secret)
      if (result.kind !== 'failed') return await this.#finish(acquired, result)
      const failed = this.#judge(acquired, result)
      settlements = this.#endOf(acquired, failed.blame, result.usage)
      const next = this.#nextStep(failed)
      if (next.kind === 'give_up') return await this.#conclude(null, settlements)
      if (next.waitMs > 0) {
        this.#settling.push(this.#context.leases.settle(settlements))
        settlements = []
        await this.#wait(next.waitMs)
      }
      step = next
    }
    return await this.#conclude(null, settlements)
  }

  async #acquire(step: Again | null, settlements: readonly Settlement[]): Promise<Acquired> {
    const { ports, leases, maxWaitMs } = this.#context
    const { asked, clientId, affinity, routeKeys, tokens, size } = this.#request
    const beganMs = ports.nowMs()
    const remainingMs = Math.max(0, this.#remainingMs())
    const draft = {
      ...this.#history.ruledOut(),
      asked,
      clientId,
      affinity,
      routeKeys,
      tokens,
      size,
      attempt: step?.attempt ?? (this.#history.isFresh() ? 'first' : 'move'),
      leaseMs: remainingMs + LEASE_GRACE_MS,
      waitMs: Math.min(maxWaitMs, remainingMs),
    } as const
    let waitedMs = 0
    const acquired = await leases.acquire(draft, settlements, this.#gone.signal, (ms) => {
      waitedMs = ms
    })
    this.#timings.wait += waitedMs
    this.#timings.acquire += ports.nowMs() - beganMs - waitedMs
    const { kind } = acquired
    this.#degraded ||= kind === 'no_pool' || (kind === 'leased' && acquired.leaseId === null)
    const isUnpaid = acquired.kind === 'refused' && acquired.refusal.cause === 'retry_budget'
    if (isUnpaid && this.#history.fallBackUnpaid()) return await this.#acquire(null, [])
    if (isWithoutKey(acquired) && (await this.#mayRepeat())) return this.#acquire(REPEAT_KEY, [])
    return acquired
  }

  /** Whether a key that failed may be tried again. Waits as long as upstream asked for. */
  async #mayRepeat(): Promise<boolean> {
    const waitMs = this.#history.repeatKey(this.#context.ports.nowMs())
    if (waitMs === null || waitMs >= this.#remainingMs()) return false
    await this.#wait(waitMs)
    return !this.#gone.signal.aborted
  }

  /** Makes one upstream call, unless the client left during the wait for the lease. */
  async #try(leased: Leased, secret: string): Promise<Attempt> {
    const { ports, upstreamUrl, redaction } = this.#context
    const { shape, headers, body, search, timeouts, held } = this.#request
    if (this.#gone.signal.aborted) return { kind: 'client_gone', usage: UNUSED }
    const { keyId, model } = leased
    this.#lastKey = keyId
    this.#history.begin(keyId, model)
    const outgoing = upstreamHeaders(headers)
    outgoing.set('authorization', `Bearer ${secret}`)
    const sent = { headers: outgoing, body: body.bytesFor(model) }
    const init = { method: 'POST', ...sent, redirect: 'manual' } as const
    const url = `${upstreamUrl}/${shape.path}${search}`
    this.#call = createUpstreamCall(ports, url, init, {
      totalMs: Math.max(0, this.#remainingMs()),
      onTimeUp: () => this.reply.hurry(),
      filterOf: (head) => (isEventStream(head) ? redactErrorEvents(shape, redaction) : null),
    })
    const beganMs = ports.nowMs()
    const result = await attempt(this.#call, this.#request, this.reply, { ...timeouts, held })
    const tookMs = ports.nowMs() - beganMs
    this.#timings.upstream += tookMs
    this.#observation = observationOf(result, { tookMs, headersMs: this.#call.headersMs() })
    if (result.kind !== 'stream') this.reply.dropKeepAlives()
    if (result.kind === 'failed') this.#call.close()
    return result
  }

  #judge(leased: Leased, { failure, replay }: Extract<Attempt, { kind: 'failed' }>): FailedAttempt {
    const { keyId, accountId } = leased
    const verdict = this.#blame(keyId, failure)
    const failed = { keyId, accountId, failure, blame: verdict, replay }
    this.#history.failures.push(failed)
    return failed
  }

  /** Finds whose fault a failure was, and records it for the log and for the key ring. */
  #blame(keyId: KeyId, failure: UpstreamFailure): Blame {
    const { ports, ring, spill } = this.#context
    const { isPaidInFull = false } = this.#request.shape
    const verdict = blame(failure, { nowMs: ports.nowMs(), spill, isPaidInFull })
    const { fault, outcome } = verdict
    this.#history.note(verdict, failure)
    if (outcome === 'failure' || fault === 'key' || fault === 'account') {
      ring.noteFailure(keyId, ports.nowMs())
    }
    return verdict
  }

  #nextStep(failed: FailedAttempt): NextStep {
    const step = nextStep(
      failed.blame,
      {
        ...this.#history.standing(),
        maxAttempts: this.#request.maxAttempts,
        remainingMs: this.#remainingMs(),
      },
      this.#context.ports.random,
    )
    if (step.kind === 'give_up' || this.#gone.signal.aborted) return { kind: 'give_up' }
    this.#history.follow(step, failed)
    return step
  }

  async #wait(ms: number): Promise<void> {
    const { ports } = this.#context
    const beganMs = ports.nowMs()
    await sleep(ports, ms, this.#gone.signal)
    this.#timings.wait += ports.nowMs() - beganMs
  }

  /** Sends a good answer, or relays a committed stream to its end, and gives the lease back. */
  async #finish(
    leased: Leased,
    result: Exclude<Attempt, { kind: 'failed' }>,
  ): Promise<JourneyReport['outcome']> {
    // No further attempt needs the body, and a stream may last for minutes.
    this.#request.body.letGo()
    switch (result.kind) {
      case 'client_gone':
        await this.#settle(leased, NOBODY, result.usage)
        return 'client_gone'
      case 'whole':
        await this.#answer({ kind: 'verbatim', replay: result.answer })
        await this.#settle(leased, null, result.usage)
        return 'answered'
      case 'stream':
        return await this.#relay(leased, result.stream)
      case 'bytes':
        return await this.#relayBytes(leased, result)
    }
  }

  async #relay(leased: Leased, stream: CommittedStream): Promise<JourneyReport['outcome']> {
    this.#told = { status: stream.head.status, error: null }
    const end = await relay(this.#ends(), stream, this.#request.shape)
    const usage = usageOf(stream.watch.summary(), this.#request.promptTokens)
    return await this.#end(leased, end, usage)
  }

  async #relayBytes(
    leased: Leased,
    { head, first, tail }: Extract<Attempt, { kind: 'bytes' }>,
  ): Promise<JourneyReport['outcome']> {
    this.#told = { status: head.status, error: null }
    const end = await relayBytes(this.#ends(), head, first, tail)
    return await this.#end(leased, end, tail?.usage() ?? null)
  }

  #ends(): RelayEnds {
    if (this.#call === null) throw new Error('An answer without a call')
    const { timeouts, held } = this.#request
    return { call: this.#call, reply: this.reply, idleMs: timeouts.idleMs, held }
  }

  async #end(
    leased: Leased,
    end: StreamEnd,
    usage: Usage | null,
  ): Promise<JourneyReport['outcome']> {
    // The settlement is sent off before the stream ends: a client that sends its next request right
    // after this answer should find the key free.
    const settled = this.#settle(leased, this.#verdictOn(end, leased), usage)
    await this.reply.end()
    await settled
    return OUTCOMES[end.kind]
  }

  #verdictOn(end: StreamEnd, { keyId }: Leased): Blame | null {
    switch (end.kind) {
      case 'complete':
        return null
      case 'client_gone':
      case 'out_of_time':
        return NOBODY
      case 'failed':
        return this.#blame(keyId, end.failure)
    }
  }

  /** Sends the settlements that are still due, and the final answer. */
  async #conclude(
    refusal: Refusal | null,
    settlements: readonly Settlement[],
  ): Promise<JourneyReport['outcome']> {
    const { leases, ports, redaction } = this.#context
    const settled = leases.settle(settlements)
    if (!this.#gone.signal.aborted) {
      const answer = finalAnswer(this.#history.failures, refusal, ports.nowMs())
      await this.#answer(withoutSecrets(answer, redaction))
    }
    await settled
    return this.#gone.signal.aborted ? 'client_gone' : 'failed'
  }

  async #answer(answer: FinalAnswer): Promise<void> {
    const { shape } = this.#request
    if (answer.kind === 'verbatim') {
      const { replay } = answer
      this.#told = { status: replay.status, error: null }
      if (!this.reply.streaming()) return this.reply.whole(replay, replay.body)
      return await this.#endStream(asEvent(replay, shape))
    }
    const { error } = answer
    this.#told = { status: error.status, error }
    if (this.reply.streaming()) {
      return await this.#endStream(new TextEncoder().encode(shape.errorEvent(noticeOf(error))))
    }
    const { body, ...head } = answerOf(error, shape)
    this.reply.whole(head, body)
  }

  /** Ends a stream that only keep-alives have begun. A client that does not read is not waited for. */
  async #endStream(bytes: Uint8Array): Promise<void> {
    const ms = Math.min(this.#request.timeouts.idleMs, Math.max(0, this.#remainingMs()))
    await this.reply.endWith(bytes, ms)
  }

  async #settle(leased: Leased, verdict: Blame | null, usage: Usage | null): Promise<void> {
    this.#usage = usage
    await this.#context.leases.settle(this.#endOf(leased, verdict, usage))
  }

  /** Makes the settlement of a lease. From then on the journey does not hold the lease. */
  #endOf(leased: Leased, verdict: Blame | null, usage: Usage | null): Settlement[] {
    this.#held = null
    const observation = this.#observation
    this.#observation = {}
    return settlementsOf(leased, verdict, usage, observation)
  }

  #remainingMs(): number {
    const { startedAtMs, timeouts } = this.#request
    return startedAtMs + timeouts.totalMs - this.#context.ports.nowMs()
  }

  /**
   * Filters upstream's headers and adds the gateway's own. Every answer passes through here, so no
   * answer can leak an upstream header. A stream that begins with a keep-alive does not name the
   * attempt, which may yet fail.
   */
  readonly #decorate = (headers: Headers, certainty: 'certain' | 'provisional'): Headers => {
    const decorated = clientHeaders(headers)
    if (certainty === 'certain') this.#nameAttempt(decorated)
    if (this.#degraded) decorated.set('x-switchyard-degraded', 'pool')
    decorated.set('server-timing', serverTiming(this.#timings))
    return decorated
  }

  #nameAttempt(headers: Headers): void {
    headers.set('x-switchyard-attempts', String(this.#history.attempts.length))
    if (this.#lastKey !== null) headers.set('x-switchyard-key', this.#lastKey)
    const sent = this.#history.attempts.at(-1)?.model
    if (sent !== undefined && sent !== this.#request.asked) headers.set('x-switchyard-model', sent)
  }

  #report(outcome: JourneyReport['outcome']): JourneyReport {
    return {
      outcome,
      ...this.#told,
      attempts: this.#history.attempts,
      degraded: this.#degraded,
      timings: this.#timings,
      usage: this.#usage,
    }
  }
}

const OUTCOMES = {
  complete: 'answered',
  client_gone: 'client_gone',
  out_of_time: 'failed',
  failed: 'failed',
} as const satisfies Record<StreamEnd['kind'], JourneyReport['outcome']>

type Again = Extract<NextStep, { kind: 'again' }>
