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
