import { BATCH_BINDINGS } from '../config/config.ts'
import type { FileList } from './files/file-list-object.ts'
import type { Batch, BatchObjectBindings } from './progress/batch-object.ts'

/** What `docs/batches.toml` binds. */
export interface BatchBindings extends BatchObjectBindings {
  readonly BATCHES: DurableObjectNamespace<Batch>
  readonly FILE_LISTS: DurableObjectNamespace<FileList>
}

/** The bindings of batches; null where they are switched off. */
export function batchBindingsOf(env: object): BatchBindings | null {
  return hasAll(env) ? env : null
}

function hasAll(env: object): env is BatchBindings {
  return BATCH_BINDINGS.every((name) => name in env && env[name as never] !== undefined)
}
