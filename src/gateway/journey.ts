import { clientHeaders } from '../openrouter/headers.ts'
import { Answering } from './answering.ts'
import { type ClientReply, createClientReply } from './answers/client-reply.ts'
import { gatewayError } from './answers/gateway-error.ts'
import { serverTiming } from './answers/timings.ts'
import { Attempting, type AttemptsEnd, clientGone } from './attempting.ts'
import type {
  Answered,
  InferenceRequest,
  Journey,
  JourneyContext,
  JourneyReport,
} from './inference-request.ts'
import { isPutOff, rowOfJourney } from './request-rows.ts'

/**
 * Runs one request's journey. Its first half makes attempts until one has an answer or none is left;
 * its second half answers the client.
 */
export function startJourney(context: JourneyContext, request: InferenceRequest): Journey {
  const journey = new JourneyInProgress(context, request)
  const { response, taken } = journey.reply
  return { response, finished: journey.run(), taken }
}

class JourneyInProgress {
  readonly reply: ClientReply
  readonly #context: JourneyContext
  readonly #request: InferenceRequest
  readonly #attempting: Attempting
  readonly #answering: Answering
  readonly #gone = new AbortController()
  #isNoted = false
  readonly #onGone = () => {
    this.#gone.abort()
    this.#attempting.leave()
    this.reply.abandon()
  }

  constructor(context: JourneyContext, request: InferenceRequest) {
    this.#context = context
    this.#request = request
    this.reply = createClientReply(context.ports, this.#decorate, this.#onGone)
    const noteEnd = (answered: Answered) => this.#noteEnd(answered)
    const watch = { gone: this.#gone.signal, noteEnd }
    this.#attempting = new Attempting(context, request, this.reply, watch)
    this.#answering = new Answering(context, request, this.reply, this.#attempting)
    if (request.signal.aborted) this.#onGone()
    request.signal.addEventListener('abort', this.#onGone)
  }

  async run(): Promise<JourneyReport> {
    try {
      const end = await this.#attempting.run()
      // No further attempt needs the body, and a stream may last for minutes.
      this.#request.body.letGo()
      const answered = await this.#answer(end)
      await this.#attempting.settled()
      return this.#report(answered)
    } catch (error) {
      return await this.#endByBug(error)
    } finally {
      this.#request.signal.removeEventListener('abort', this.#onGone)
      this.reply.close()
      this.#attempting.close()
      this.#request.body.letGo()
    }
  }

  /**
   * A bug in the gateway. The client still gets an answer, the pool gets its lease back, and the report
   * has the error for the log.
   */
  async #endByBug(thrown: unknown): Promise<JourneyReport> {
    const error = gatewayError('internal_error', 'The gateway failed. Try again.')
    const owed = this.#attempting.abandon()
    this.#attempting.close()
    const answered = this.#answering.say({ kind: 'ours', error }).catch(this.reply.fail)
    const { status } = error
    const told = { outcome: 'failed', status, error, usage: null } as const
    this.#noteEnd(told)
    const settled = this.#context.leases.settle(owed).catch(() => undefined)
    await Promise.all([answered, settled])
    return this.#report(told, thrown)
  }

  async #answer(end: AttemptsEnd): Promise<Answered> {
    switch (end.kind) {
      case 'answered':
        return await this.#answering.pass(end.attempt)
      case 'client_gone':
        return clientGone(end.usage)
      case 'given_up':
        return await this.#answering.conclude(end.refusal)
    }
  }

  /**
   * Filters upstream's headers and adds the gateway's own. Every answer passes through here, so no
   * answer can leak an upstream header. A stream that begins with a keep-alive does not name the
   * attempt, which may yet fail.
   */
  readonly #decorate = (headers: Headers, certainty: 'certain' | 'provisional'): Headers => {
    const decorated = clientHeaders(headers)
    if (certainty === 'certain') this.#nameAttempt(decorated)
    if (this.#attempting.isDegraded()) decorated.set('x-switchyard-degraded', 'pool')
    decorated.set('server-timing', serverTiming(this.#attempting.timings))
    return decorated
  }

  #nameAttempt(headers: Headers): void {
    const { attempts } = this.#attempting.history
    headers.set('x-switchyard-attempts', String(attempts.length))
    const last = attempts.at(-1)
    if (last === undefined) return
    headers.set('x-switchyard-key', last.key)
    if (last.model !== this.#request.asked) headers.set('x-switchyard-model', last.model)
  }

  /**
   * Notes the request for the operators, once: its row goes to the pool's object with its last
   * settlement, and costs no call of its own.
   */
  #noteEnd(answered: Answered): void {
    if (this.#isNoted) return
    this.#isNoted = true
    const { leases, ports } = this.#context
    const report = this.#report(answered)
    if (isPutOff(this.#request, report)) return
    leases.note(rowOfJourney(this.#request, report, ports.nowMs()))
  }

  #report(answered: Answered, bug: unknown = null): JourneyReport {
    const { history, timings } = this.#attempting
    const { attempts, times } = history
    const degraded = this.#attempting.isDegraded()
    const streamed = this.reply.streaming()
    return { ...answered, attempts, times, degraded, streamed, timings, bug }
  }
}
