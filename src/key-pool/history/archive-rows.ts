/**
 * Rows that are read only when somebody asks for them. They have a table of their own: the object reads
 * all other rows whenever it starts, and so does an earlier release after a rollback.
 */
export interface ArchiveRows {
  /** The records of a kind with ids from `first` to `last`, in the order of their ids. */
  between(kind: ArchiveKind, first: string, last: string): readonly string[]
  put(kind: ArchiveKind, id: string, record: string): void
  /** Drops all of a kind with a lower id. */
  dropBefore(kind: ArchiveKind, id: string): void
}

/** A UTC day, by its date; a minute of the hour, by its number; a part of the last requests. */
export type ArchiveKind = 'day' | 'minute' | 'requests'

/** Some of the last requests: number, id, mark and text. */
export type RequestsPart = readonly (readonly [number, string, string, string])[]
