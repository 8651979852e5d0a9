/**
 * The body as the APIs read it: JSON, or a form as a record of its fields, with a file as
 * `{name, bytes}`. Undefined if it is neither.
 */
export async function parsedBody(
  bytes: ArrayBuffer,
  text: string,
  formType: string | null,
): Promise<unknown> {
  if (formType === null) return parsedJson(text)
  try {
    const form = await new Response(bytes, { headers: { 'content-type': formType } }).formData()
    const fields = [...form].map(([name, value]) => [
      name,
      typeof value === 'string' ? value : { name: value.name, bytes: value.size },
    ])
    return Object.fromEntries(fields)
  } catch {
    return undefined
  }
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
