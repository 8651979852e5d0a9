import type { Refusal } from '../balancing/lease-request.ts'
import type { Usage } from '../balancing/settlement.ts'
import { type Blame, NOBODY } from '../openrouter/failures/blame.ts'
import type { ClientReply } from './answers/client-reply.ts'
import { answerOf, noticeOf } from './answers/gateway-error.ts'
import type { AnsweredAttempt, Attempting } from './attempting.ts'
import { usageOf, usageOfPrompt } from './attempts/estimated-usage.ts'
import type { OpenLease } from './attempts/open-lease.ts'
import {
  errorOfBreak,
  type RelayEnds,
  relay,
  relayBytes,
  type StreamEnd,
} from './attempts/relay.ts'
import { asEvent, type FinalAnswer, finalAnswer, withoutSecrets } from './final-answer.ts'
import type {
  Answered,
  InferenceRequest,
  JourneyContext,
  JourneyReport,
} from './inference-request.ts'
import { inSpan } from './spans.ts'

/** How a relay ended, and whose fault that was; null if it was complete. */
interface RelayedEnd {
  readonly end: StreamEnd
  readonly verdict: Blame | null
}

/**
 * The second half of a journey: pass an answer on to its end and settle its lease, or say why there
 * is none.
 */
export class Answering {
  readonly #context: JourneyContext
  readonly #request: InferenceRequest
  readonly #reply: ClientReply
  readonly #attempting: Attempting

  constructor(
    context: JourneyContext,
    request: InferenceRequest,
    reply: ClientReply,
    attempting: Attempting,
  ) {
    this.#context = context
    this.#request = request
    this.#reply = reply
    this.#attempting = attempting
  }

  /** Sends a good answer, or relays a committed stream to its end, and gives the lease back. */
  async pass(attempt: AnsweredAttempt): Promise<Answered> {
    const { answer } = attempt
    switch (answer.kind) {
      case 'whole': {
        const { usage, answer: replay } = answer
        const told = await this.say({ kind: 'verbatim', replay })
        const answered = { outcome: 'answered', ...told, usage } as const
        this.#attempting.noteEnd(answered)
        await this.#context.leases.settle(attempt.lease.end(null, usage))
        return answered
      }
      case 'stream': {
        const { stream } = answer
        const end = await this.#relayed(attempt, (ends) => relay(ends, stream, this.#request.shape))
        const usage = usageOf(stream.watch.summary(), this.#request.promptTokens)
        return await this.#end(attempt, end, { status: stream.head.status, usage })
      }
      case 'bytes': {
        const { head, first, tail } = answer
        const end = await this.#relayed(attempt, (ends) => relayBytes(ends, head, first, tail))
        const usage = tail?.usage() ?? usageOfPrompt(this.#request.promptTokens)
        return await this.#end(attempt, end, { status: head.status, usage })
      }
    }
  }

  /** Says why there is no answer. */
  async conclude(refusal: Refusal | null): Promise<Answered> {
    const { ports, redaction } = this.#context
    const answer = finalAnswer(this.#attempting.history.failures, refusal, ports.nowMs())
    const answered = { outcome: 'failed', ...toldBy(answer), usage: null } as const
    this.#attempting.noteEnd(answered)
    this.#attempting.settleOwed()
    await this.say(withoutSecrets(answer, redaction))
    return answered
  }

  /** Sends a whole answer, or an event where a stream has begun. */
  async say(answer: FinalAnswer): Promise<Pick<JourneyReport, 'status' | 'error'>> {
    const { shape } = this.#request
    if (answer.kind === 'verbatim') {
      const { replay } = answer
      if (this.#reply.streaming()) await this.#endStream(asEvent(replay, shape))
      else this.#reply.whole(replay, replay.body)
      return toldBy(answer)
    }
    const { error } = answer
    if (this.#reply.streaming()) {
      await this.#endStream(new TextEncoder().encode(shape.errorEvent(noticeOf(error))))
    } else {
      const { body, ...head } = answerOf(error, shape)
      this.#reply.whole(head, body)
    }
    return toldBy(answer)
  }

  /** Relays an answer, and finds whose fault its end was. */
  #relayed(
    { call, lease }: AnsweredAttempt,
    pass: (ends: RelayEnds) => Promise<StreamEnd>,
  ): Promise<RelayedEnd> {
    const { timeouts, held } = this.#request
    return inSpan(this.#context.ports, 'relay', async (note) => {
      const end = await pass({ call, reply: this.#reply, idleMs: timeouts.idleMs, held })
      const verdict = this.#verdictOn(end, lease)
      note({ ...this.#attempting.history.spanFacts(), 'switchyard.outcome': end.kind })
      return { end, verdict }
    })
  }

  async #end(
    { lease }: AnsweredAttempt,
    { end, verdict }: RelayedEnd,
    { status, usage }: { readonly status: number; readonly usage: Usage | null },
  ): Promise<Answered> {
    const error = errorOfBreak(end)
    const told = error?.status ?? statusIn(end) ?? status
    const answered = { outcome: OUTCOMES[end.kind], status: told, error, usage }
    this.#attempting.noteEnd(answered)
    // The settlement is sent off before the stream ends: a client that sends its next request right
    // after this answer should find the key free.
    const settled = this.#context.leases.settle(lease.end(verdict, usage))
    await this.#reply.end()
    await settled
    return answered
  }

  /** Finds whose fault the end of an answer was, and records it for the log. */
  #verdictOn(end: StreamEnd, { leased }: OpenLease): Blame | null {
    switch (end.kind) {
      case 'complete':
        return null
      case 'client_gone':
        this.#attempting.history.noteLeft()
        return NOBODY
      case 'out_of_time':
        return this.#attempting.blame(leased.keyId, { kind: 'timeout', clock: 'total' })
      case 'failed':
        return this.#attempting.blame(leased.keyId, end.failure)
    }
  }

  /** Ends a stream that only keep-alives have begun. A client that does not read is not waited for. */
  async #endStream(bytes: Uint8Array): Promise<void> {
    const remainingMs = Math.max(0, this.#attempting.remainingMs())
    await this.#reply.endWith(bytes, Math.min(this.#request.timeouts.idleMs, remainingMs))
  }
}

/** What an answer tells the client. */
function toldBy(answer: FinalAnswer): Pick<JourneyReport, 'status' | 'error'> {
  return answer.kind === 'verbatim'
    ? { status: answer.replay.status, error: null }
    : { status: answer.error.status, error: answer.error }
}

/** The status of the error with which upstream ended an answer; null without one. */
function statusIn(end: StreamEnd): number | null {
  return end.kind === 'failed' && end.failure.kind === 'response' ? end.failure.status : null
}

const OUTCOMES = {
  complete: 'answered',
  client_gone: 'client_gone',
  out_of_time: 'failed',
  failed: 'failed',
} as const satisfies Record<StreamEnd['kind'], JourneyReport['outcome']>
