import type { HonoBase } from 'hono/hono-base'
import type { HttpEnvironment } from '../../http/context.ts'
import { cancelBatch, createBatch, listBatches, showBatch } from './batches.ts'
import { withBatches } from './batches-on.ts'
import { uploadFile } from './file-upload.ts'
import { deleteFile, fileContent, listFiles, showFile } from './files.ts'

/** `files` and `batches`, relative to a prefix. The client must be known. */
export function batchRoutes(routes: HonoBase<HttpEnvironment>): void {
  routes.post('/files', withBatches(uploadFile))
  routes.get('/files', withBatches(listFiles))
  routes.get('/files/:id', withBatches(showFile))
  routes.delete('/files/:id', withBatches(deleteFile))
  routes.get('/files/:id/content', withBatches(fileContent))
  routes.post('/batches', withBatches(createBatch))
  routes.get('/batches', withBatches(listBatches))
  routes.get('/batches/:id', withBatches(showBatch))
  routes.post('/batches/:id/cancel', withBatches(cancelBatch))
}
