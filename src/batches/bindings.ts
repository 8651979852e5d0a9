import type { FileList } from './files/file-list-object.ts'
import type { Batch, BatchObjectBindings } from './progress/batch-object.ts'

/** What `docs/batches.toml` binds. */
export interface BatchBindings extends BatchObjectBindings {
  readonly BATCHES: DurableObjectNamespace<Batch>
  readonly FILE_LISTS: DurableObjectNamespace<FileList>
}

const NAMES = ['FILES', 'BATCH_LINES', 'DEAD_LINES', 'BATCHES', 'FILE_LISTS'] as const

/** The bindings of batches; null where they are switched off: any of them is not there. */
export function batchBindingsOf(env: object): BatchBindings | null {
  return hasAll(env) ? env : null
}

function hasAll(env: object): env is BatchBindings {
  return NAMES.every((name) => name in env && env[name as never] !== undefined)
}
