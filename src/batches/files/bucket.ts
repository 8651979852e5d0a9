import type { FilePort, PartUpload } from './part-writer.ts'

/** The bucket as a port. */
export function bucketPort(bucket: R2Bucket): FilePort {
  return {
    put: async (key, bytes) => void (await bucket.put(key, bytes)),
    async begin(key): Promise<PartUpload> {
      const upload = await bucket.createMultipartUpload(key)
      const parts: R2UploadedPart[] = []
      return {
        part: async (number, bytes) => void parts.push(await upload.uploadPart(number, bytes)),
        complete: async () => void (await upload.complete(parts)),
        // The bucket drops parts that belong to nothing after seven days.
        abort: async () => await upload.abort().catch(() => undefined),
      }
    },
  }
}

/** Some bytes of a file; null if it is gone. */
export async function readBytes(
  bucket: R2Bucket,
  key: string,
  { offset, bytes }: { readonly offset: number; readonly bytes: number },
): Promise<Uint8Array | null> {
  const found = await bucket.get(key, { range: { offset, length: bytes } })
  return found === null ? null : new Uint8Array(await found.arrayBuffer())
}
