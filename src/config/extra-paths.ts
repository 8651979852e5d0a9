import { listOf, shown, word } from './fields.ts'

/**
 * Paths that answer about accounts, keys or lists, or that store something in an
 * account, where every client of the pool could get at it: no request to them is
 * an inference.
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
  'presets',
  'model',
  'models',
  'providers',
  'endpoints',
  'datasets',
  'benchmarks',
]

/** What the gateway serves by itself; the public lists among it that RESERVED does not hold. */
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

/** Further inference paths that the gateway opens: relative, as they stand below `/api/v1`. */
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
  // Upstream may resolve dots, so that `videos/../keys` would be what is reserved below.
  if (!SEGMENTS.test(path) || path.includes('..')) {
    return 'must be a path such as "videos" or "audio/translations": small letters, digits and . _ - between slashes'
  }
  const [first = ''] = path.split('/')
  if (RESERVED.includes(first)) {
    return 'must not be a path of management or of a public list, which is never forwarded with a key'
  }
  if (first === 'api' || first === 'v1') return 'must be relative to the API, as in "videos"'
  return SERVED.includes(path) ? 'must not be a path that the gateway serves already' : null
}
