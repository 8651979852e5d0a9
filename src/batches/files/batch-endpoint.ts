/** The endpoints whose requests may be lines of a batch, as OpenAI's client names them. */
export const BATCH_ENDPOINTS = [
  '/v1/chat/completions',
  '/v1/responses',
  '/v1/embeddings',
  '/v1/messages',
  '/v1/completions',
] as const

export type BatchEndpoint = (typeof BATCH_ENDPOINTS)[number]

/** The endpoint that a URL names, under either prefix; null if lines can't be sent there. */
export function batchEndpoint(url: unknown): BatchEndpoint | null {
  if (typeof url !== 'string') return null
  const named = url.startsWith('/api/') ? url.slice('/api'.length) : url
  return BATCH_ENDPOINTS.find((endpoint) => endpoint === named) ?? null
}

/** The path of its API shape. */
export function shapePath(endpoint: BatchEndpoint): string {
  return endpoint.slice('/v1/'.length)
}
