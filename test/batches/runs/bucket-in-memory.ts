/** As much of a bucket as batches need. */
export function createBucket() {
  const files = new Map<string, Uint8Array>()
  const r2 = {
    async get(key: string, options?: { range?: { offset: number; length: number } }) {
      const bytes = files.get(key)
      if (bytes === undefined) return null
      const { offset = 0, length = bytes.length } = options?.range ?? {}
      const part = bytes.slice(offset, offset + length)
      return { arrayBuffer: async () => part.buffer }
    },
    async put(key: string, bytes: Uint8Array) {
      files.set(key, bytes.slice())
    },
    async delete(keys: string | string[]) {
      for (const key of [keys].flat()) files.delete(key)
    },
  }
  return { files, r2: r2 as unknown as R2Bucket }
}
