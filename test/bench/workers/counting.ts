import production, { Flight, KeyPool as ProductionKeyPool } from '../../../src/index.ts'

/**
 * The gateway as it is deployed, with a count of what Cloudflare would bill of its objects. Only
 * for counting: nothing is timed with it. A Worker and its objects share one isolate here, and so
 * these numbers.
 */
const counts = { objectCalls: 0, rows: 0 }

/** A cursor counts its rows as it is read, so it is asked in the end. */
let cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = []

/** Counts the rows that are written through a storage from now on, by shadowing what writes. */
function watched(ctx: DurableObjectState): DurableObjectState {
  const { storage } = ctx
  const { sql } = storage
  const exec = sql.exec.bind(sql)
  const put = storage.put.bind(storage) as (...args: unknown[]) => Promise<void>
  const del = storage.delete.bind(storage) as (...args: unknown[]) => Promise<boolean>
  Object.assign(sql, {
    exec(...args: Parameters<typeof exec>) {
      const cursor = exec(...args)
      cursors.push(cursor)
      return cursor
    },
  })
  Object.assign(storage, {
    put(...args: unknown[]) {
      const [first] = args
      counts.rows += typeof first === 'object' && first !== null ? Object.keys(first).length : 1
      return put(...args)
    },
    async delete(...args: unknown[]) {
      const deleted = await del(...args)
      counts.rows += Number(deleted)
      return deleted
    },
  })
  return ctx
}

export class KeyPool extends ProductionKeyPool {
  constructor(ctx: DurableObjectState, env: Env) {
    super(watched(ctx), env)
  }
}

/** Every method that a Worker can call, with a count before it. */
for (const name of Object.getOwnPropertyNames(ProductionKeyPool.prototype)) {
  const method: unknown = Reflect.get(ProductionKeyPool.prototype, name)
  if (name === 'constructor' || typeof method !== 'function') continue
  Object.defineProperty(KeyPool.prototype, name, {
    value(...args: unknown[]) {
      counts.objectCalls += 1
      return method.apply(this, args)
    },
  })
}

/** Answers on a port of its own with the counts so far. */
export const counter = {
  fetch() {
    for (const cursor of cursors) counts.rows += cursor.rowsWritten
    cursors = []
    return Response.json(counts)
  },
} satisfies ExportedHandler

export default production

export { Flight }
