import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import { errorResponse } from '../../http/error-response.ts'
import { overloaded } from '../../http/upload.ts'
import type { BatchBindings } from '../bindings.ts'
import { bucketPort } from '../files/bucket.ts'
import type { CheckedLines } from '../files/jsonl-check.ts'
import { PART_BYTES, PartWriter } from '../files/part-writer.ts'
import { fileKey, KEPT_MS, type StoredFile } from '../files/stored-file.ts'
import {
  takeUpload,
  type Uploaded,
  type UploadFault,
  type UploadTarget,
} from '../files/upload-file.ts'
import { EstimateOfLines } from './batch-estimate.ts'
import { type BatchContext, newId, ownList } from './batches-on.ts'
import { keptMs } from './expires-after.ts'
import { fileAnswer } from './files.ts'
import { pieceReader } from './piece-reader.ts'

/** What an upload holds besides its part: a line, and two pieces of the body. */
const BESIDE_BYTES = 2 * 1024 * 1024

/** `POST files`: takes a file of requests as it comes, checks it, and keeps it if nothing is wrong. */
export async function uploadFile(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const held = c.var.gateway.memory.open()
  if (!held.grow(PART_BYTES + BESIDE_BYTES)) return errorResponse(c, overloaded())
  // A client that leaves ends its request here and now. What it has begun has to end all the same.
  const work = upload(c, bindings).finally(held.release)
  c.executionCtx.waitUntil(work.catch(() => undefined))
  return await work
}

async function upload(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const id = newId(c, 'file-')
  const list = ownList(c, bindings)
  const writer = new PartWriter(bucketPort(bindings.FILES), fileKey(c.var.clientId, id))
  const createdAtMs = c.var.gateway.ports.nowMs()
  let isKept = false
  try {
    const expiresAtMs = createdAtMs + KEPT_MS
    await list.begin({
      id,
      ...{ purpose: 'batch', filename: '', bytes: 0, createdAtMs, expiresAtMs },
    })
    // Only for a client with a budget: it costs as much as all other checks.
    const estimate = c.var.caller.budget === null ? null : new EstimateOfLines(c)
    const judged = judge(
      await take(c, writer, estimate),
      c.var.gateway.config.policy.batch.maxFileBytes,
    )
    if (!judged.ok) return errorResponse(c, judged.error)
    const { filename, bytes, keptForMs, lines } = judged
    const file: StoredFile = {
      ...{ id, purpose: 'batch', filename, bytes, createdAtMs },
      expiresAtMs: createdAtMs + keptForMs,
    }
    await writer.end()
    await list.keep(file, { ...lines, ...(estimate && { estimate: estimate.get() }) })
    isKept = true
    return c.json(fileAnswer(file))
  } finally {
    if (!isKept) {
      await writer.abandon()
      await list.remove(id)
    }
  }
}

async function take(
  c: BatchContext,
  writer: PartWriter,
  estimate: EstimateOfLines | null,
): Promise<Uploaded> {
  const { config, ports } = c.var.gateway
  const { batch, timeouts } = config.policy
  const { body, headers } = c.req.raw
  if (body === null) return { kind: 'fault', fault: 'no_form' }
  if (Number(headers.get('content-length') ?? 0) > batch.maxFileBytes + FORM_BYTES) {
    return { kind: 'fault', fault: 'too_large' }
  }
  const reader = pieceReader(body, timeouts.idleMs, ports)
  const contentType = headers.get('content-type') ?? ''
  const into: UploadTarget = {
    ...{ writer, maxBytes: batch.maxFileBytes },
    estimate: estimate && ((...line) => estimate.add(...line)),
  }
  const taken = await takeUpload(reader.next, contentType, into)
  if (taken.kind === 'fault') reader.cancel()
  return taken
}

/** A form is longer than its file by so much at most, or it is none of a client's. */
const FORM_BYTES = 64 * 1024

type Judged =
  | {
      readonly ok: true
      readonly filename: string
      readonly bytes: number
      readonly keptForMs: number
      readonly lines: CheckedLines & { readonly endpoint: NonNullable<CheckedLines['endpoint']> }
    }
  | { readonly ok: false; readonly error: GatewayError }

function judge(uploaded: Uploaded, maxBytes: number): Judged {
  if (uploaded.kind === 'fault') return { ok: false, error: uploadError(uploaded.fault, maxBytes) }
  const { fields, checked, filename, bytes } = uploaded
  if (fields.get('purpose') !== 'batch') return refuse(PURPOSE)
  const keptForMs = keptMs(
    fields.get('expires_after[anchor]'),
    fields.get('expires_after[seconds]'),
  )
  if (typeof keptForMs === 'string') return refuse(keptForMs)
  const { endpoint, faultCount } = checked
  if (faultCount > 0 || endpoint === null) return refuse(faultText(checked))
  return { ok: true, filename, bytes, keptForMs, lines: { ...checked, endpoint } }
}

const PURPOSE = '"purpose" must be "batch": this gateway keeps files for batches only.'

const refuse = (message: string) =>
  ({ ok: false, error: gatewayError('invalid_request', message) }) as const

function faultText({ faults, faultCount }: CheckedLines): string {
  const told = faults.map(({ line, message }) => `Line ${line}: ${message}`).join(' ')
  const rest = faultCount > faults.length ? ` And ${faultCount - faults.length} more.` : ''
  return `The file can't be used. ${told}${rest}`
}

function uploadError(fault: UploadFault, maxBytes: number): GatewayError {
  switch (fault) {
    case 'no_form':
      return gatewayError('invalid_request', 'The body must be a form: multipart/form-data.')
    case 'no_file':
      return gatewayError('invalid_request', 'The form must have one file, in the field "file".')
    case 'too_large': {
      const message = `The file is too large. This gateway allows ${maxBytes} bytes.`
      return gatewayError('body_too_large', message, { metadata: { max_file_bytes: maxBytes } })
    }
    case 'late':
      return gatewayError('request_timeout', 'The file did not arrive in time. Send it again.')
    case 'incomplete':
      return gatewayError(
        'invalid_request',
        'The form ended before it was complete. Send it again.',
      )
  }
}
