import { type GatewayError, poolUnavailable } from '../../gateway/answers/gateway-error.ts'
import { errorResponse } from '../../http/error-response.ts'
import type { BatchBindings } from '../bindings.ts'
import { batchObjectName, type LinesEstimate } from '../files/stored-file.ts'
import { WINDOW_MS } from '../progress/batch-host.ts'
import type { BatchFault, BatchRecord } from '../progress/batch-record.ts'
import { batchAnswer } from './batch-answer.ts'
import { estimateError } from './batch-estimate.ts'
import { type BatchContext, invalid, newId, notThere, ownList } from './batches-on.ts'
import { listQuery, pageAnswer } from './list-query.ts'
import { type NewBatch, readNewBatch } from './new-batch.ts'

/** The body has ids and a few pairs of texts. */
const MAX_BODY_BYTES = 64 * 1024

const idOf = (c: BatchContext): string => c.req.param('id') ?? ''

const objectOf = ({ BATCHES }: BatchBindings, id: string) => BATCHES.getByName(batchObjectName(id))

/** `POST batches` */
export async function createBatch(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  if (Number(c.req.header('content-length') ?? 0) > MAX_BODY_BYTES) {
    return invalid(c, `The body may have ${MAX_BODY_BYTES} bytes here.`)
  }
  const read = readNewBatch(await c.req.json().catch(() => null))
  if (!read.ok) return errorResponse(c, read.error)
  const { inputFileId } = read.batch
  const lines = await ownList(c, bindings).lines(inputFileId)
  if (lines === null) return notThere(c, 'file', inputFileId)
  const { estimate } = lines
  const refusal = read.batch.mayBePartial || !estimate ? null : await budgetFault(c, estimate)
  if (refusal !== null) return errorResponse(c, refusal)
  const faults = lines.endpoint === read.batch.endpoint ? [] : [otherEndpoint(lines.endpoint)]
  const id = newId(c, 'batch_')
  const nowMs = c.var.gateway.ports.nowMs()
  const record = recordOf(read.batch, { id, clientId: c.var.clientId, nowMs, faults })
  const total = lines.requests
  const view = await objectOf(bindings, id).create({ ...record, total }, lines.ranges)
  return view === null ? notThere(c, 'file', inputFileId) : c.json(batchAnswer(view))
}

/** Why the budgets of the client do not pay for a batch; null if they do. */
async function budgetFault(c: BatchContext, estimate: LinesEstimate): Promise<GatewayError | null> {
  const { gateway, clientId, caller } = c.var
  if (caller.budget === null) return null
  const quotas = await gateway.pool.quotas(clientId)
  if (quotas.kind === 'answer') return estimateError(estimate, quotas.value)
  return poolUnavailable(
    'This gateway cannot look up the budget of this client key now. Try again.',
  )
}

function otherEndpoint(endpoint: string): BatchFault {
  return {
    code: 'mismatched_url',
    message: `The lines of the file have the url ${endpoint}. It must be the endpoint of the batch.`,
    line: 1,
    param: 'url',
  }
}

function recordOf(
  { mayBePartial: _, ...batch }: NewBatch,
  about: {
    readonly id: string
    readonly clientId: string
    readonly nowMs: number
    readonly faults: readonly BatchFault[]
  },
): BatchRecord {
  const { id, clientId, nowMs, faults } = about
  const hasFailed = faults.length > 0
  return {
    ...batch,
    ...{ id, clientId, faults, createdAtMs: nowMs, expiresAtMs: nowMs + WINDOW_MS, total: 0 },
    ...{ status: hasFailed ? 'failed' : 'validating', ending: null },
    times: hasFailed ? { failed: nowMs } : {},
    ...{ outputFileId: null, errorFileId: null, repeated: 0, redrives: 0, tally: null },
  }
}

/** `GET batches`: each batch is asked itself, so that what is told is true. */
export async function listBatches(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const read = listQuery(c, { standard: 20, max: 100 })
  if (!read.ok) return errorResponse(c, read.error)
  const { limit, after } = read.query
  const { items, hasMore } = await ownList(c, bindings).batches({ limit, after, order: 'desc' })
  const views = await Promise.all(items.map((id) => objectOf(bindings, id).view()))
  const told = views.flatMap((view) => (view === null ? [] : [batchAnswer(view)]))
  return c.json(pageAnswer(told, hasMore))
}

/** `GET batches/{id}` */
export async function showBatch(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  // An id that is on nobody's list would make an object.
  const isOwn = await ownList(c, bindings).hasBatch(idOf(c))
  const view = isOwn ? await objectOf(bindings, idOf(c)).view() : null
  return view === null ? notThere(c, 'batch', idOf(c)) : c.json(batchAnswer(view))
}

/** `POST batches/{id}/cancel` */
export async function cancelBatch(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const isOwn = await ownList(c, bindings).hasBatch(idOf(c))
  const reply = isOwn ? await objectOf(bindings, idOf(c)).cancel() : null
  if (reply === null) return notThere(c, 'batch', idOf(c))
  if (reply.isCancelled || reply.record.ending === 'cancelled') return c.json(batchAnswer(reply))
  const { status } = reply.record
  return invalid(c, `A batch that is ${status} can't be cancelled.`, 409)
}
