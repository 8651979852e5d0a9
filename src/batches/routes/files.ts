import { errorResponse } from '../../http/error-response.ts'
import type { BatchBindings } from '../bindings.ts'
import { fileKey, type StoredFile } from '../files/stored-file.ts'
import { type BatchContext, invalid, notThere, ownList, seconds } from './batches-on.ts'
import { listQuery, pageAnswer } from './list-query.ts'

const idOf = (c: BatchContext): string => c.req.param('id') ?? ''

/** `GET files` */
export async function listFiles(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const read = listQuery(c, { standard: 10_000, max: 10_000 })
  if (!read.ok) return errorResponse(c, read.error)
  const { items, hasMore } = await ownList(c, bindings).files(read.query)
  return c.json(pageAnswer(items.map(fileAnswer), hasMore))
}

/** `GET files/{id}` */
export async function showFile(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const file = await ownList(c, bindings).file(idOf(c))
  return file === null ? notThere(c, 'file', idOf(c)) : c.json(fileAnswer(file))
}

/** `GET files/{id}/content`: the bytes as they lie in the bucket, without a copy in memory. */
export async function fileContent(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const file = await ownList(c, bindings).file(idOf(c))
  const found = file && (await bindings.FILES.get(fileKey(c.var.clientId, file.id)))
  if (file === null || found === null) return notThere(c, 'file', idOf(c))
  return new Response(found.body, {
    headers: {
      'content-type': 'application/octet-stream',
      'content-length': String(found.size),
      'content-disposition': `attachment; filename="${file.filename.replaceAll(/[^\w.-]/g, '_')}"`,
    },
  })
}

/** `DELETE files/{id}` */
export async function deleteFile(c: BatchContext, bindings: BatchBindings): Promise<Response> {
  const id = idOf(c)
  const removed = await ownList(c, bindings).remove(id)
  switch (removed) {
    case 'unknown':
      return notThere(c, 'file', id)
    case 'in_use':
      return invalid(c, 'A batch that has not ended reads this file. Cancel it, or wait.', 409)
    case 'removed':
      await bindings.FILES.delete(fileKey(c.var.clientId, id))
      return c.json({ id, object: 'file', deleted: true })
  }
}

/** A file as OpenAI's client reads it. */
export function fileAnswer({ id, purpose, filename, bytes, ...times }: StoredFile) {
  return {
    ...{ id, object: 'file' as const, bytes, filename, purpose },
    created_at: seconds(times.createdAtMs),
    expires_at: seconds(times.expiresAtMs),
    status: 'processed' as const,
  }
}
