import type { BatchEndpoint } from '../../../src/batches/files/batch-endpoint.ts'
import type { LineRange } from '../../../src/batches/files/line-ranges.ts'

/** The file of some requests, and its ranges. Those of an upload are longer than most tests want. */
export function inputOf(
  ids: readonly string[],
  perRange: number,
  { url, bodyOf }: { readonly url: BatchEndpoint; readonly bodyOf: (id: string) => object },
) {
  const encoder = new TextEncoder()
  const ranges: LineRange[] = []
  let text = ''
  let offset = 0
  for (const [i, id] of ids.entries()) {
    const line = `${JSON.stringify({
      ...{ custom_id: id, method: 'POST', url, body: bodyOf(id) },
    })}\n`
    const bytes = encoder.encode(line).length
    const open = ranges.at(-1)
    if (open === undefined || i % perRange === 0) {
      ranges.push({ firstRequest: i + 1, requests: 1, offset, bytes })
    } else {
      ranges.splice(-1, 1, { ...open, requests: open.requests + 1, bytes: open.bytes + bytes })
    }
    text += line
    offset += bytes
  }
  return { bytes: encoder.encode(text), ranges }
}
