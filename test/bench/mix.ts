import type { Binding } from './processes/workerd-config.ts'

/**
 * The one mix of requests and of configuration that every figure is for. Limits are on, since
 * keeping them costs something, and so large that they never refuse.
 */

const CLIENTS = 20
const SESSIONS = 40
const SESSION_EVERY = 3
const ALIAS_EVERY = 10
/** After so many requests everything has come in every combination. */
const VARIANTS = SESSIONS * SESSION_EVERY

const LIMITS = { rpm: 1_000_000, max_concurrent: 100_000 }
const KEYS = [
  { id: 'alpha', key: 'sk-or-v1-bench-alpha', account: 'acme', ...LIMITS, tpm: 1_000_000_000 },
  { id: 'beta', key: 'sk-or-v1-bench-beta', account: 'acme', ...LIMITS },
  { id: 'gamma', key: 'sk-or-v1-bench-gamma', account: 'globex', ...LIMITS },
]

const ALIAS_PREFIX = 'mix:'

export const MIX_DESCRIPTION =
  `${KEYS.length} keys of 2 accounts, rpm and max_concurrent on all, tpm on one; ${CLIENTS} clients; ` +
  `one request in ${SESSION_EVERY} with a session id (${SESSIONS} of them), one in ${ALIAS_EVERY} under an alias; ` +
  'default strategy and affinity; logs written to a pipe.'

/**
 * What the upstream can be asked for, by the name of the model: other gateways pass that on
 * wherever else they put it.
 */
export const MODELS = {
  small: 'bench/answer-1kb',
  large: 'bench/answer-100kb',
  /** One answer in a hundred is a 502. */
  faulty: 'bench/faulty-1kb',
  /** 200 events, 10 ms apart. */
  stream: 'bench/stream-200x10ms',
  /** 40 events, 100 ms apart. */
  slowStream: 'bench/stream-40x100ms',
  /** 1 MB in 64 bursts of events, 50 ms apart. */
  longStream: 'bench/stream-1mb',
} as const

export type ModelName = keyof typeof MODELS

/** Variables and secrets of the gateway. */
export function gatewayBindings(upstreamPort: number): Record<string, Binding> {
  const aliases = Object.fromEntries(
    Object.entries(MODELS).map(([name, model]) => [ALIAS_PREFIX + name, model]),
  )
  return {
    UPSTREAM_URL: { kind: 'text', value: `http://127.0.0.1:${upstreamPort}/api/v1` },
    ANONYMOUS_CLIENTS: { kind: 'text', value: 'deny' },
    POLICY: { kind: 'json', value: { aliases } },
    OPENROUTER_KEYS: { kind: 'text', value: JSON.stringify(KEYS) },
    CLIENT_KEYS: {
      kind: 'text',
      value: Array.from({ length: CLIENTS }, (_, i) => `client-${i}:${tokenOf(i)}`).join(','),
    },
  }
}

/**
 * The same clients, each with limits and a budget, and all of them in a group with its own, so large that
 * nobody comes near them: what it costs to keep them is measured, and nothing is refused.
 */
export function withBudgets(): Record<string, Binding> {
  const budget = { usd: 1_000_000, period: 'month', mode: 'exact' }
  const terms = { rpm: 1_000_000, tpm: 1_000_000_000, rpd: 1_000_000_000, max_concurrent: 100_000 }
  const clients = Array.from({ length: CLIENTS }, (_, i) => {
    return { id: `client-${i}`, token: tokenOf(i), group: 'team', ...terms, budget }
  })
  const value = JSON.stringify({ groups: [{ id: 'team', ...terms, budget }], clients })
  return { CLIENT_KEYS: { kind: 'text', value } }
}

/** The token of one of the mix's clients. */
export const tokenOf = (client: number) => `sy-bench-token-${client}`

/** How requests of the mix are addressed. */
export interface Addressee {
  /** Up to the name of the API, like `/api/v1`. */
  readonly path: string
  readonly host: string
  /** In place of the mix's clients' tokens. */
  readonly token?: string
  /** False where our aliases are not known; the models' own names are sent then. */
  readonly knowsAliases: boolean
}

export interface Load {
  readonly model: ModelName
  /** Size of the request's body, in bytes, rounded to a few. */
  readonly promptBytes: number
}

/**
 * The requests of the mix, ready to be written, in the order in which they are to be sent. Parts
 * are shared between them, so that 1 MB of prompt is held once.
 */
export function requestsOf(to: Addressee, load: Load): (readonly Buffer[])[] {
  const messages = messagesOf(load.promptBytes)
  return Array.from({ length: VARIANTS }, (_, i) => {
    const alias = to.knowsAliases && i % ALIAS_EVERY === 0
    const model = alias ? ALIAS_PREFIX + load.model : MODELS[load.model]
    const session = i % SESSION_EVERY === 0 ? `"session_id":"session-${i / SESSION_EVERY}",` : ''
    const start = `{"model":"${model}",${session}`
    const token = to.token ?? tokenOf(i % CLIENTS)
    const isStreamed = load.model === 'stream' || load.model === 'slowStream'
    const ending = Buffer.concat([Buffer.from(isStreamed ? '"stream":true,' : ''), messages])
    const head = [
      `POST ${to.path}/chat/completions HTTP/1.1`,
      `host: ${to.host}`,
      `authorization: Bearer ${token}`,
      'content-type: application/json',
      'accept: application/json',
      'user-agent: OpenAI/JS 6.49.0',
      `content-length: ${start.length + ending.length}`,
    ].join('\r\n')
    const opening = Buffer.from(`${head}\r\n\r\n${start}`)
    return load.promptBytes > 10_000 ? [opening, ending] : [Buffer.concat([opening, ending])]
  })
}

/** Of a long conversation a turn has this many characters: a file that an agent has read. */
const TURN_CHARACTERS = 8_000
/** What a body holds besides its messages. */
const ENVELOPE_BYTES = 100

const PROSE =
  'The gateway keeps a pool of keys and gives each request to one of them, "the best" by its own rules;\n' +
  'when a key fails — revoked, spent or limited — the next one answers, and nobody notices. '

function messagesOf(promptBytes: number): Buffer {
  const budget = promptBytes - ENVELOPE_BYTES
  const turns: { role: string; content: string }[] = []
  for (let left = budget; left > 0; left -= TURN_CHARACTERS) {
    const length = Math.min(left, TURN_CHARACTERS)
    const content = PROSE.repeat(Math.ceil(length / PROSE.length)).slice(0, length)
    turns.push({ role: turns.length % 2 === 0 ? 'user' : 'assistant', content })
  }
  return Buffer.from(`"max_tokens":500,"messages":${JSON.stringify(turns)}}`)
}
