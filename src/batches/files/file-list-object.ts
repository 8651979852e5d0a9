import { DurableObject } from 'cloudflare:workers'
import { FileListRows, type ListQuery, type Page } from './file-list.ts'
import { fileKey, type InputLines, type StoredFile } from './stored-file.ts'

/** What it needs of `docs/batches.toml`. */
export interface FileListBindings {
  readonly FILES: R2Bucket
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
  remove(id: string): 'removed' | 'unknown' | 'in_use' {
    if (this.#rows.file(id) === null) return 'unknown'
    if (this.#rows.isInUse(id)) return 'in_use'
    this.#rows.remove(id)
    return 'removed'
  }

  addBatch(id: string, inputFileId: string): void {
    this.#rows.addBatch(id, inputFileId)
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
    const ids = this.#rows.expired(Date.now())
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
