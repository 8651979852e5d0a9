import { listOf, shown, word } from './fields.ts'

/**
 * Paths that no operator can open, since they are not for inference. They answer questions about
 * accounts, keys or lists, or they store something in an account, where every client of the pool
 * could read it.
 */
const RESERVED = [
  'key',
  'keys',
  'auth',
  'oauth',
  'vault',
  'containers',
  'interns',
  'end-users',
  'private-endpoints',
  'credits',
  'activity',
  'analytics',
  'byok',
  'guardrails',
  'workspaces',
  'organization',
  'observability',
  'scim',
  'generation',
  'files',
  'batches',
  'presets',
  'model',
  'models',
  'providers',
  'endpoints',
  'datasets',
  'benchmarks',
]

/** Paths that the gateway serves already, with the public lists that RESERVED does not cover. */
const SERVED = [
  'chat/completions',
  'completions',
  'responses',
  'messages',
  'messages/count_tokens',
  'embeddings',
  'embeddings/models',
  'rerank',
  'images',
  'audio/speech',
  'audio/transcriptions',
]

const SEGMENTS = /^[a-z0-9][a-z0-9._-]*(\/[a-z0-9][a-z0-9._-]*)*$/

/** The inference paths that an operator opens, relative to `/api/v1/`. */
export const extraPathFields = listOf(
  word(100).check((context) => {
    const { value: path, issues } = context
    const fault = pathFault(path)
    if (fault === null) return
    issues.push({ code: 'custom', message: `${fault}, given ${shown(path)}`, input: path })
  }),
  { max: 50 },
)

function pathFault(path: string): string | null {
  // Upstream may resolve dots. Then `videos/../keys` would be the reserved path `keys`.
  if (!SEGMENTS.test(path) || path.includes('..')) {
    return 'must be a path such as "videos" or "audio/translations": segments with single slashes between them, each of lower-case letters, digits, "_", "-" and single dots, with a letter or digit first'
  }
  const [first = ''] = path.split('/')
  if (RESERVED.includes(first)) {
    return 'must not be a path for management, stored data or public lists: the gateway never forwards a request to those with a key'
  }
  if (first === 'api' || first === 'v1') return 'must be relative to /api/v1, for example "videos"'
  return SERVED.includes(path) ? 'must not be a path that the gateway already serves' : null
}
