import type { KeyId } from '../balancing/ids.ts'
import type { Refusal } from '../balancing/lease-request.ts'
import type { Settlement, Usage } from '../balancing/settlement.ts'
import { type Blame, blame, NOBODY } from '../openrouter/failures/blame.ts'
import type { UpstreamFailure } from '../openrouter/failures/upstream-failure.ts'
import { upstreamHeaders } from '../openrouter/headers.ts'
import type { ClientReply } from './answers/client-reply.ts'
import { createTimings, type Timings } from './answers/timings.ts'
import { type Attempt, attempt, isEventStream } from './attempts/attempt.ts'
import { AttemptHistory, type FailedAttempt } from './attempts/attempt-history.ts'
import { budgetWaitMs, type CostEstimate } from './attempts/budget-wait.ts'
import { redactErrorEvents } from './attempts/error-events.ts'
import { UNUSED, usageOfPrompt } from './attempts/estimated-usage.ts'
import { type NextStep, nextStep, REPEAT_KEY } from './attempts/next-step.ts'
import { OpenLease } from './attempts/open-lease.ts'
import { createUpstreamCall, type UpstreamCall } from './attempts/upstream-call.ts'
import type { Answered, InferenceRequest, JourneyContext } from './inference-request.ts'
import { type Acquired, isWithoutKey } from './leases/lease-broker.ts'
import type { LeaseDraft } from './leases/lease-draft.ts'
import { sleep } from './ports.ts'
import { inSpan } from './spans.ts'

/** A lease ends this long after its request's deadline. It never expires during a live call. */
const LEASE_GRACE_MS = 10_000

/** During a deployment the pool may grant keys that this Worker does not know. */
const MAX_UNKNOWN_KEYS = 10

/** An attempt that has an answer. Its lease is open until the answer has ended. */
export interface AnsweredAttempt {
  readonly lease: OpenLease
  readonly call: UpstreamCall
  readonly answer: Extract<Attempt, { kind: 'whole' | 'stream' | 'bytes' }>
}

/** What attempts are told of their request, and tell of it. */
export interface AttemptingWatch {
  /** Aborted when the client leaves. */
  readonly gone: AbortSignal
  /** Called when it is known how the request ends, before its last settlement is sent. */
  readonly noteEnd: (answered: Answered) => void
}

/** How the attempts of a request ended. All leases but that of an answer have been given back. */
export type AttemptsEnd =
  | { readonly kind: 'answered'; readonly attempt: AnsweredAttempt }
  /** The client left. `usage` is what the attempt may have used that it left in; null for none. */
  | { readonly kind: 'client_gone'; readonly usage: Usage | null }
  | { readonly kind: 'given_up'; readonly refusal: Refusal | null }

/**
 * The first half of a journey: lease a key, call upstream, judge what comes, and make the next
 * attempt, until there is an answer or nothing is left to try. The loop itself decides nothing: it
 * passes on what `blame`, `nextStep` and the pool decide.
 */
export class Attempting {
  readonly history: AttemptHistory
  readonly timings: Timings
  readonly noteEnd: AttemptingWatch['noteEnd']
  readonly #context: JourneyContext
  readonly #request: InferenceRequest
  readonly #reply: ClientReply
  /** Aborted when the client leaves. */
  readonly #gone: AbortSignal
  /** Settlements that are being sent. The journey waits for them only at its end. */
  readonly #settling: Promise<void>[] = []
  #call: UpstreamCall | null = null
  #lease: OpenLease | null = null
  #isDegraded = false
  /** How long the request had waited when its latest attempt began. */
  #waitedBeforeMs = 0
  /** How often, and how long, the request has waited for its client's budget. */
  #budgetWaits = { count: 0, ms: 0 }

  constructor(
    context: JourneyContext,
    request: InferenceRequest,
    reply: ClientReply,
    { gone, noteEnd }: AttemptingWatch,
  ) {
    this.#context = context
    this.#request = request
    this.#reply = reply
    this.#gone = gone
    this.noteEnd = noteEnd
    this.history = new AttemptHistory(request.models)
    this.timings = createTimings(request.authMs)
  }

  /** Whether a key was taken without the pool. */
  isDegraded(): boolean {
    return this.#isDegraded
  }

  /** Makes attempts until one is answered, or none is left to make. */
  async run(): Promise<AttemptsEnd> {
    let step: Again | null = null
    for (let unknownKeys = 0; unknownKeys < MAX_UNKNOWN_KEYS && !this.#gone.aborted; ) {
      const acquired = await this.#acquire(step)
      if (acquired.kind !== 'leased') {
        return this.#end(acquired.kind === 'refused' ? acquired.refusal : null)
      }
      const { ports } = this.#context
      const lease = new OpenLease(acquired, this.#request.estimatePrice ?? null, ports.nowMs)
      this.#lease = lease
      this.history.lease(acquired.keyId, acquired.model)
      const secret = this.#context.ring.secret(acquired.keyId)
      if (secret === null) {
        unknownKeys += 1
        this.#context.leases.owe(lease.end(NOBODY, UNUSED))
        // This lease's grant has already paid for the step. The next lease must not pay again.
        step = null
        continue
      }
      const tried = await this.#tryWith(lease, secret)
      if (tried.kind !== 'again') return tried
      step = tried
    }
    return this.#end(null)
  }

  /** Makes one attempt, and waits for the next one's time if there is to be one. */
  async #tryWith(lease: OpenLease, secret: string): Promise<AttemptsEnd | Again> {
    if (this.#gone.aborted) return this.#leave(lease, UNUSED)
    const call = this.#callWith(lease, secret)
    const tried = await this.#tryInSpan(lease, call)
    if (tried.kind !== 'failed') return tried
    const next = this.#nextStep(tried.failed)
    if (next.kind === 'give_up') return this.#end(null)
    if (next.waitMs > 0) {
      this.#settle([])
      await this.#wait(next.waitMs)
    }
    return next
  }

  /** Finds whose fault a failure was, and records it for the log and for the key ring. */
  blame(keyId: KeyId, failure: UpstreamFailure): Blame {
    const { ports, ring, spill } = this.#context
    const { isPaidInFull = false } = this.#request.shape
    const verdict = blame(failure, { nowMs: ports.nowMs(), spill, isPaidInFull })
    const { fault, outcome } = verdict
    this.history.note(verdict, failure)
    if (outcome === 'failure' || fault === 'key' || fault === 'account') {
      ring.noteFailure(keyId, ports.nowMs())
    }
    return verdict
  }

  /** Ends the call that is running, since the client has left. */
  leave(): void {
    this.#call?.stop('client_gone')
  }

  /** Frees what the last call holds. Safe to call twice. */
  close(): void {
    this.#call?.close()
  }

  /** The settlement of the lease that is open, for a journey that a bug has ended. */
  abandon(): readonly Settlement[] {
    return this.#lease?.end(NOBODY, usageOfPrompt(this.#request.promptTokens)) ?? []
  }

  /** Sends what the request owes, without waiting for it. */
  settleOwed(): void {
    this.#settle([])
  }

  /** Settles when all settlements have been sent. */
  async settled(): Promise<void> {
    await Promise.all(this.#settling)
  }

  remainingMs(): number {
    const { startedAtMs, timeouts } = this.#request
    return startedAtMs + timeouts.totalMs - this.#context.ports.nowMs()
  }

  #settle(settlements: readonly Settlement[]): void {
    this.#settling.push(this.#context.leases.settle(settlements))
  }

  /** Whoever concludes a request that is given up sends what it owes, with the request's row. */
  #end(refusal: Refusal | null): AttemptsEnd {
    if (!this.#gone.aborted) return { kind: 'given_up', refusal }
    this.noteEnd(clientGone(null))
    this.#settle([])
    return { kind: 'client_gone', usage: null }
  }

  #leave(lease: OpenLease, usage: Usage | null): AttemptsEnd {
    this.noteEnd(clientGone(usage))
    this.#settle(lease.end(NOBODY, usage))
    return { kind: 'client_gone', usage }
  }

  async #acquire(step: Again | null): Promise<Acquired> {
    const { ports, leases } = this.#context
    const cost = this.#request.cost?.() ?? null
    const beganMs = ports.nowMs()
    let waitedMs = 0
    const acquired = await leases.acquire(this.#draft(step, cost), this.#gone, (ms) => {
      waitedMs += ms
    })
    this.timings.wait += waitedMs
    this.timings.acquire += ports.nowMs() - beganMs - waitedMs
    const { kind } = acquired
    this.#isDegraded ||= kind === 'no_pool' || (kind === 'leased' && acquired.leaseId === null)
    if (acquired.kind === 'refused') {
      const { refusal } = acquired
      if (this.history.fallBackOverBudget(refusal)) return await this.#acquire(step)
      if (await this.#waitForBudget(refusal, cost)) return await this.#acquire(step)
      const isUnpaid = refusal.cause === 'retry_budget'
      if (isUnpaid && this.history.fallBackUnpaid()) return await this.#acquire(null)
    }
    if (isWithoutKey(acquired) && (await this.#mayRepeat())) return this.#acquire(REPEAT_KEY)
    return acquired
  }

  #draft(step: Again | null, cost: CostEstimate | null): LeaseDraft {
    const { asked, caller, affinity, routeKeys, routeIndex, tokens, size } = this.#request
    const remainingMs = Math.max(0, this.remainingMs())
    return {
      ...this.history.ruledOut(),
      asked,
      clientId: caller.id,
      caller,
      ...(cost === null ? {} : { costNanos: cost.nanos }),
      ...(this.history.isOverBudget ? { isFallback: true as const } : {}),
      ...(this.#request.class === undefined ? {} : { class: this.#request.class }),
      affinity,
      routeKeys,
      routeIndex,
      tokens,
      size,
      attempt: step?.attempt ?? (this.history.isFresh() ? 'first' : 'move'),
      leaseMs: remainingMs + LEASE_GRACE_MS,
      waitMs: Math.min(this.#context.maxWaitMs, remainingMs),
    }
  }

  /** Whether a budget may pay for the request by now that did not. Waits as long as for a key. */
  async #waitForBudget(refusal: Refusal, cost: CostEstimate | null): Promise<boolean> {
    const { ports, maxWaitMs } = this.#context
    const waitMs = budgetWaitMs(refusal, cost, this.#budgetWaits.count, ports.random)
    if (waitMs === null) return false
    const waitedMs = this.#budgetWaits.ms + waitMs
    if (waitedMs > maxWaitMs || waitMs >= this.remainingMs()) return false
    this.#budgetWaits = { count: this.#budgetWaits.count + 1, ms: waitedMs }
    await this.#wait(waitMs)
    return !this.#gone.aborted
  }

  /** Whether a key that failed may be tried again. Waits as long as upstream asked for. */
  async #mayRepeat(): Promise<boolean> {
    const waitMs = this.history.repeatKey(this.#context.ports.nowMs())
    if (waitMs === null || waitMs >= this.remainingMs()) return false
    await this.#wait(waitMs)
    return !this.#gone.aborted
  }

  #callWith({ leased }: OpenLease, secret: string): UpstreamCall {
    const { ports, upstreamUrl, redaction } = this.#context
    const { shape, headers, body, search } = this.#request
    const { keyId, model } = leased
    const waitedMs = this.timings.wait - this.#waitedBeforeMs
    this.#waitedBeforeMs = this.timings.wait
    this.history.begin(keyId, model, { beganAtMs: ports.nowMs(), waitedMs })
    const outgoing = upstreamHeaders(headers)
    outgoing.set('authorization', `Bearer ${secret}`)
    const sent = { headers: outgoing, body: body.bytesFor(model) }
    const init = { method: 'POST', ...sent, redirect: 'manual' } as const
    const call = createUpstreamCall(ports, `${upstreamUrl}/${shape.path}${search}`, init, {
      totalMs: Math.max(0, this.remainingMs()),
      onTimeUp: () => this.#reply.hurry(),
      filterOf: (head) => (isEventStream(head) ? redactErrorEvents(shape, redaction) : null),
    })
    this.#call = call
    return call
  }

  /** Makes one upstream call, and judges what comes of it. */
  #tryInSpan(lease: OpenLease, call: UpstreamCall): Promise<Tried> {
    return inSpan(this.#context.ports, 'attempt', async (note) => {
      const tried = this.#judge(lease, call, await this.#try(lease, call))
      note({
        ...this.history.spanFacts(),
        'switchyard.attempt': this.history.attempts.length,
        'switchyard.outcome': tried.kind,
      })
      return tried
    })
  }

  #judge(lease: OpenLease, call: UpstreamCall, result: Attempt): Tried {
    switch (result.kind) {
      case 'failed':
        return { kind: 'failed', failed: this.#fail(lease, result) }
      case 'client_gone':
        this.history.noteLeft()
        return this.#leave(lease, result.usage)
      case 'whole':
      case 'stream':
      case 'bytes':
        return { kind: 'answered', attempt: { lease, call, answer: result } }
    }
  }

  async #try(lease: OpenLease, call: UpstreamCall): Promise<Attempt> {
    const { ports } = this.#context
    const { timeouts, held } = this.#request
    const beganMs = ports.nowMs()
    lease.begin()
    const result = await attempt(call, this.#request, this.#reply, { ...timeouts, held })
    const tookMs = ports.nowMs() - beganMs
    this.timings.upstream += tookMs
    this.history.noteTimes(timesOf(result, tookMs))
    const generationId = call.generationId()
    lease.observe(result, { tookMs, headersMs: call.headersMs(), generationId })
    if (result.kind !== 'stream') this.#reply.dropKeepAlives()
    if (result.kind === 'failed') call.close()
    return result
  }

  #fail(lease: OpenLease, result: Extract<Attempt, { kind: 'failed' }>): FailedAttempt {
    const { keyId, accountId } = lease.leased
    const { failure, replay, usage } = result
    const verdict = this.blame(keyId, failure)
    const failed = { keyId, accountId, failure, blame: verdict, replay }
    const keptBytes = this.history.fail(failed)
    const { held } = this.#request
    held.release()
    held.grow(keptBytes)
    this.#context.leases.owe(lease.end(verdict, usage))
    return failed
  }

  #nextStep(failed: FailedAttempt): NextStep {
    const { maxAttempts } = this.#request
    const remainingMs = this.remainingMs()
    const standing = { ...this.history.standing(), maxAttempts, remainingMs }
    const step = nextStep(failed.blame, standing, this.#context.ports.random)
    if (step.kind === 'give_up' || this.#gone.aborted) return { kind: 'give_up' }
    this.history.follow(step, failed)
    return step
  }

  async #wait(ms: number): Promise<void> {
    const { ports } = this.#context
    const beganMs = ports.nowMs()
    await sleep(ports, ms, this.#gone)
    this.timings.wait += ports.nowMs() - beganMs
  }
}

type Again = Extract<NextStep, { kind: 'again' }>

/** What has become of one attempt. */
type Tried = AttemptsEnd | { readonly kind: 'failed'; readonly failed: FailedAttempt }

/** How long an attempt took, as far as its result shows it. An answer may go on after that. */
function timesOf({ kind }: Attempt, tookMs: number) {
  switch (kind) {
    case 'failed':
    case 'client_gone':
    case 'whole':
      return { tookMs }
    case 'stream':
    case 'bytes':
      return { firstOutputMs: tookMs }
  }
}

export const clientGone = (usage: Usage | null): Answered => {
  return { outcome: 'client_gone', status: null, error: null, usage }
}
