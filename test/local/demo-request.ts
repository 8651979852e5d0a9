import { setImmediate } from 'node:timers/promises'
import OpenAI, { APIError } from 'openai'

/** The result of one request, as the client saw it. */
export interface Sent {
  /** Its place in the run, from 1. `X-Title` carries it upstream, to identify its attempts. */
  readonly number: number
  readonly streamed: boolean
  readonly outcome: 'answered' | 'failed_before_output' | 'failed_after_output'
  /** Why the request failed; null if it did not fail. */
  readonly failure: string | null
  /** From the response's headers, like the next three; null if there were none. */
  readonly key: string | null
  readonly attempts: number | null
  readonly requestId: string | null
  readonly degraded: boolean
  /** How long the lease requests took, from `Server-Timing`, in milliseconds. */
  readonly acquireMs: number | null
}

/** Streamed requests name their own model, so that a rule can match only them. */
export const STREAMED_MODEL = 'openai/gpt-4o-mini'
const WHOLE_MODEL = 'meta-llama/llama-3.3-70b-instruct'

/** The official client without retries: they would hide failures that the demo must count. */
export function demoClient(gatewayUrl: string, token: string): OpenAI {
  return new OpenAI({ baseURL: `${gatewayUrl}/api/v1`, apiKey: token, maxRetries: 0 })
}

/** The `X-Title` that identifies a request's attempts in the simulator's log. */
export function titleOf(number: number): string {
  return `demo-${number}`
}

/**
 * Sends one request and reads its answer to the end. Never throws: a failure is a result.
 *
 * @param signal ends the request early
 * @returns null for a request that was ended early: it has neither failed nor been answered
 */
export async function send(
  client: OpenAI,
  number: number,
  streamed: boolean,
  signal?: AbortSignal,
): Promise<Sent | null> {
  const received: Observation = { headers: undefined, output: false }
  const read = streamed ? readStream : readWhole
  try {
    await read(client, { ...optionsOf(number), ...(signal && { signal }) }, number, received)
    return {
      number,
      streamed,
      outcome: 'answered',
      failure: null,
      ...fromHeaders(received.headers),
    }
  } catch (error) {
    // Ctrl-C ends the gateway at the same moment. Its end may be noticed before the signal.
    await setImmediate()
    if (signal?.aborted) return null
    const outcome = received.output ? 'failed_after_output' : 'failed_before_output'
    const headers = received.headers ?? (error instanceof APIError ? error.headers : undefined)
    return { number, streamed, outcome, failure: reasonOf(error), ...fromHeaders(headers) }
  }
}

/** What the client has received so far. It is needed if the rest does not arrive. */
interface Observation {
  headers: Headers | undefined
  /** Whether a stream had any text. */
  output: boolean
}

type Options = ReturnType<typeof optionsOf> & { readonly signal?: AbortSignal }

async function readStream(
  client: OpenAI,
  options: Options,
  number: number,
  received: Observation,
): Promise<void> {
  const body = { model: STREAMED_MODEL, messages: messagesOf(number), stream: true } as const
  const { data, response } = await client.chat.completions.create(body, options).withResponse()
  received.headers = response.headers
  let finished = false
  for await (const { choices } of data) {
    received.output ||= choices.some(({ delta }) => (delta.content ?? '') !== '')
    finished ||= choices.some(({ finish_reason }) => finish_reason !== null)
  }
  if (!received.output || !finished) throw new Error('the stream ended before its answer did')
}

async function readWhole(
  client: OpenAI,
  options: Options,
  number: number,
  received: Observation,
): Promise<void> {
  const body = { model: WHOLE_MODEL, messages: messagesOf(number) }
  const { data, response } = await client.chat.completions.create(body, options).withResponse()
  received.headers = response.headers
  if (!data.choices[0]?.message.content) throw new Error('an answer without content')
}

function messagesOf(number: number): OpenAI.ChatCompletionMessageParam[] {
  return [{ role: 'user', content: `Say something about the number ${number}.` }]
}

function optionsOf(number: number) {
  return { headers: { 'x-title': titleOf(number) } }
}

function fromHeaders(headers: Headers | undefined) {
  const attempts = headers?.get('x-switchyard-attempts') ?? null
  const acquire = /\bacquire;dur=(\d+)/.exec(headers?.get('server-timing') ?? '')?.[1]
  return {
    key: headers?.get('x-switchyard-key') ?? null,
    attempts: attempts === null ? null : Number(attempts),
    requestId: headers?.get('x-request-id') ?? null,
    degraded: headers?.has('x-switchyard-degraded') ?? false,
    acquireMs: acquire === undefined ? null : Number(acquire),
  }
}

/** The gateway's own reason if it gave one, else the message of the error. */
function reasonOf(error: unknown): string {
  if (!(error instanceof APIError)) return error instanceof Error ? error.message : String(error)
  const metadata = property(error.error, 'metadata')
  const reason = property(metadata, 'reason') ?? property(error.error, 'message') ?? error.message
  return error.status === undefined ? `${reason}` : `${error.status} ${reason}`
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}
