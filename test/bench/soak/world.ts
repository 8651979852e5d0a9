import { REQUESTS, type ShapePath } from '../../simulator/shape-requests.ts'
import type { Binding } from '../processes/workerd-config.ts'

/** What a soak is made of: keys, faults by chance, and requests of many kinds. */

const STAYING = ['one', 'two', 'three', 'four', 'five', 'six'] as const
/**
 * The keys of clients that leave: what they have cost is only estimated, so the ledger of the others is
 * exact only beside it.
 */
export const LEAVERS_KEYS: readonly string[] = ['left-one', 'left-two', 'left-three']
const NAMES = [...STAYING, ...LEAVERS_KEYS]
const LEAVERS_MODEL = 'openai/gpt-4o'

export const SOAK_TOKEN = 'sy-soak-token-000001'

const secretOf = (name: string) => `sk-or-v1-soak-${name}`

/** Rich enough that money is never the fault, unless a rule says so. */
export const WORLD = {
  accounts: NAMES.map((name) => ({ id: `account-${name}`, balanceUsd: 1e6, purchasedUsd: 1e6 })),
  keys: NAMES.map((name) => ({ key: secretOf(name), name, accountId: `account-${name}` })),
  settings: { tokensPerSecond: 2000, ttftMs: 2, logLimit: 20_000 },
}

/** Each struck by chance, on any request. */
export const RULES = [
  { fault: 'plain-502', probability: 0.01 },
  { fault: 'provider-502', probability: 0.005 },
  { fault: 'html-503', probability: 0.005 },
  { fault: 'error-first-event', probability: 0.005 },
  { fault: 'error-mid-stream', probability: 0.005 },
  { fault: 'cut-before-output', probability: 0.005 },
  { fault: 'cut-mid-stream', probability: 0.005 },
  { fault: 'end-without-done', probability: 0.005 },
  { fault: 'stall', probability: 0.001 },
  { fault: 'hang', probability: 0.001 },
  { fault: 'slow-first-token', params: { ms: 600 }, probability: 0.005 },
  { fault: 'plain-429', params: { retryAfter: 1 }, probability: 0.002 },
  { fault: '401', probability: 0.0005 },
  { fault: '400', probability: 0.005 },
] as const

export function bindingsOf(upstreamUrl: string): Record<string, Binding> {
  return {
    UPSTREAM_URL: { kind: 'text', value: upstreamUrl },
    ANONYMOUS_CLIENTS: { kind: 'text', value: 'deny' },
    CLIENT_KEYS: { kind: 'text', value: `soak:${SOAK_TOKEN}` },
    OPENROUTER_KEYS: {
      kind: 'text',
      value: JSON.stringify(
        NAMES.map((name) => ({
          ...{ id: name, key: secretOf(name), account: `account-${name}` },
          ...{ rpm: 1_000_000, max_concurrent: 1000, tpm: 1_000_000_000 },
        })),
      ),
    },
    POLICY: {
      kind: 'json',
      // Long enough that a busy machine is not taken for a fault, and retried until it collapses.
      value: {
        timeouts: {
          headers_ms: 10_000,
          first_output_ms: 10_000,
          idle_ms: 10_000,
          total_ms: 60_000,
        },
        routes: [
          { models: [LEAVERS_MODEL], keys: LEAVERS_KEYS },
          { models: ['*'], keys: STAYING },
        ],
      },
    },
  }
}

const PATHS = [
  '/chat/completions',
  '/responses',
  '/messages',
  '/completions',
  '/embeddings',
] as const
const VARIANTS = 60

export interface SoakRequest {
  readonly path: ShapePath
  readonly body: string
}

/** Every API, whole and streamed, some in conversations, of several sizes. */
export const SOAK_REQUESTS: readonly SoakRequest[] = Array.from({ length: VARIANTS }, (_, i) => {
  const path = PATHS[i % PATHS.length] ?? '/chat/completions'
  const stream = path !== '/embeddings' && i % 2 === 0 ? { stream: true } : {}
  const session = i % 3 === 0 ? { session_id: `session-${i}` } : {}
  const padding = i % 20 === 0 ? { metadata: { note: 'x'.repeat(50_000) } } : {}
  return { path, body: JSON.stringify({ ...REQUESTS[path], ...stream, ...session, ...padding }) }
})

/** Of clients that leave. */
export const LEAVERS_REQUESTS: readonly SoakRequest[] = SOAK_REQUESTS.filter(
  ({ path }) => path !== '/embeddings',
).map(({ path, body }) => ({
  path,
  body: JSON.stringify({ ...JSON.parse(body), model: LEAVERS_MODEL }),
}))

/** As bytes for a kept connection. */
export function rawRequests(host: string): Buffer[][] {
  return SOAK_REQUESTS.map(({ path, body }) => {
    const head = [
      `POST /api/v1${path} HTTP/1.1`,
      `host: ${host}`,
      `authorization: Bearer ${SOAK_TOKEN}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
    ]
    return [Buffer.from([...head, '', body].join('\r\n'))]
  })
}
