import { listOf, word } from './fields.ts'

/** Paths that answer about accounts, keys or lists: no request to them is an inference. */
const RESERVED = [
  'key',
  'keys',
  'auth',
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
  'models',
  'providers',
  'endpoints',
]

const SEGMENTS = /^[a-z0-9][a-z0-9._-]*(\/[a-z0-9][a-z0-9._-]*)*$/

/** Further inference paths that the gateway opens: relative, as they stand below `/api/v1`. */
export const extraPathFields = listOf(
  word(100)
    .regex(SEGMENTS, {
      error: 'must be a path such as "videos" or "audio/translations", in small letters',
    })
    .refine((path) => !RESERVED.includes(path.split('/')[0] ?? ''), {
      error: 'must not be a path of management or of a public list',
    }),
  { max: 50 },
)
