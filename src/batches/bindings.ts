import type { FileList } from './files/file-list-object.ts'
import type { Batch } from './progress/batch-object.ts'

/** The one message of the queue: the lines of a range have to run. */
export interface RangeMessage {
  readonly version: 1
  readonly batchId: string
  readonly rangeId: number
}

/** A line that ended its Worker each time. */
export interface DeadLine {
  readonly version: 1
  readonly batchId: string
  readonly line: number
}

/** What `docs/batches.toml` binds. */
export interface BatchBindings {
  readonly FILES: R2Bucket
  readonly BATCH_LINES: Queue<RangeMessage>
  readonly DEAD_LINES: Queue<DeadLine>
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
