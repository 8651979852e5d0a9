import { DurableObject } from 'cloudflare:workers'
import { FileListRows, type ListQuery, type Page } from './file-list.ts'
import { batchObjectName, fileKey, type InputLines, type StoredFile } from './stored-file.ts'

/** What it needs of `docs/batches.toml`. */
export interface FileListBindings {
  readonly FILES: R2Bucket
  readonly BATCHES: { getByName(name: string): { isReading(): Promise<boolean> } }
}

/** The Durable Object that lists one client's files and batches, and deletes what has expired. */
export class FileList extends DurableObject<FileListBindings> {
  readonly #rows: FileListRows

  constructor(ctx: DurableObjectState, env: FileListBindings) {
    super(ctx, env)
    this.#rows = new FileListRows({
      exec: (query, ...values) => ctx.storage.sql.exec(query, ...values),
    })
  }

  async begin(file: StoredFile): Promise<void> {
    this.#rows.begin(file, Date.now())
    await this.#wake()
  }

  async keep(file: StoredFile, lines: InputLines | null): Promise<void> {
    this.#rows.keep(file, lines)
    await this.#wake()
  }

  file(id: string): StoredFile | null {
    return this.#rows.file(id)
  }

  lines(id: string): InputLines | null {
    return this.#rows.lines(id)
  }

  files(query: ListQuery): Page<StoredFile> {
    return this.#rows.files(query)
  }

  /** @returns `in_use` for a file that a running batch reads */
  async remove(id: string): Promise<'removed' | 'unknown' | 'in_use'> {
    await this.#askReaders(id)
    if (this.#rows.file(id) === null) return 'unknown'
    if (this.#rows.isInUse(id)) return 'in_use'
    this.#rows.remove(id)
    return 'removed'
  }

  /** @returns false if the file is gone that the batch has to read */
  addBatch(id: string, inputFileId: string): boolean {
    if (this.#rows.file(inputFileId) === null) return false
    this.#rows.addBatch(id, inputFileId)
    return true
  }

  /** A batch that died before it began, or whose end was not heard of, holds no file. */
  async #askReaders(fileId: string): Promise<void> {
    for (const id of this.#rows.readersOf(fileId)) {
      const isReading = await this.env.BATCHES.getByName(batchObjectName(id)).isReading()
      if (!isReading) this.#rows.setOver(id, true)
    }
  }

  setOver(id: string, isOver: boolean): void {
    this.#rows.setOver(id, isOver)
  }

  hasBatch(id: string): boolean {
    return this.#rows.hasBatch(id)
  }

  batches(query: Omit<ListQuery, 'purpose'>): Page<string> {
    return this.#rows.batches(query)
  }

  override async alarm(): Promise<void> {
    const nowMs = Date.now()
    for (const id of this.#rows.expiredInUse(nowMs)) await this.#askReaders(id)
    const ids = this.#rows.expired(nowMs)
    if (ids.length > 0) {
      const client = this.ctx.id.name?.slice('files/'.length) ?? ''
      await this.env.FILES.delete(ids.map((id) => fileKey(client, id)))
      for (const id of ids) this.#rows.remove(id)
    }
    await this.#wake()
  }

  async #wake(): Promise<void> {
    const atMs = this.#rows.nextExpiryMs()
    const set = await this.ctx.storage.getAlarm()
    if (atMs !== null && (set === null || set > atMs)) await this.ctx.storage.setAlarm(atMs)
  }
}
