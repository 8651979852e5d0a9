import * as z from 'zod/mini'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import { BATCH_ENDPOINTS } from '../files/batch-endpoint.ts'
import { keptMs } from './expires-after.ts'

const MAX_PAIRS = 16

const says = (message: string) => ({ error: () => message })

const metadata = z
  .record(
    z.string().check(z.maxLength(64, says('must have names of 64 characters at most'))),
    z
      .string(says('must have texts as values'))
      .check(z.maxLength(512, says('must have values of 512 characters at most'))),
    says('must be an object of texts'),
  )
  .check(
    z.refine((pairs) => Object.keys(pairs).length <= MAX_PAIRS, says('must have 16 pairs at most')),
  )

/** What `POST batches` takes. Fields that OpenAI may add are passed over. */
const newBatch = z.object(
  {
    input_file_id: z.string(says('must be the id of a file')),
    endpoint: z.enum(BATCH_ENDPOINTS, says(`must be one of ${BATCH_ENDPOINTS.join(', ')}`)),
    completion_window: z.literal('24h', says('must be "24h"')),
    metadata: z.nullish(metadata),
    // Not OpenAI's: whether the batch may run although a budget may not pay for all of it.
    allow_partial: z.nullish(z.boolean(says('must be true or false'))),
    output_expires_after: z.nullish(
      z.object({ anchor: z.unknown(), seconds: z.unknown() }, says('must be an object')),
    ),
  },
  says('must be a JSON object'),
)

export interface NewBatch {
  readonly inputFileId: string
  readonly endpoint: (typeof BATCH_ENDPOINTS)[number]
  readonly metadata: Readonly<Record<string, string>> | null
  readonly outputKeptMs: number
  readonly mayBePartial: boolean
}

type Read =
  | { readonly ok: true; readonly batch: NewBatch }
  | { readonly ok: false; readonly error: GatewayError }

/** Reads the body of `POST batches`. */
export function readNewBatch(body: unknown): Read {
  const parsed = newBatch.safeParse(body)
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => `"${path.join('.')}" ${message}.`)
    return refuse(faults.join(' '))
  }
  const { input_file_id, endpoint, metadata: pairs, output_expires_after: expiry } = parsed.data
  const mayBePartial = parsed.data.allow_partial ?? false
  const outputKeptMs = keptMs(expiry?.anchor, expiry?.seconds)
  if (typeof outputKeptMs === 'string') return refuse(outputKeptMs)
  const about = { inputFileId: input_file_id, endpoint, metadata: pairs ?? null, outputKeptMs }
  return { ok: true, batch: { ...about, mayBePartial } }
}

const refuse = (message: string) =>
  ({ ok: false, error: gatewayError('invalid_request', message) }) as const
