/** Puts a value into any place of another. */
export function planted(into: unknown, path: readonly number[], value: unknown): unknown {
  const [step, ...rest] = path
  if (step === undefined || typeof into !== 'object' || into === null) return value
  const names = Object.keys(into)
  const name = names[step % names.length]
  if (name === undefined) return value
  const copy: Record<string, unknown> = Array.isArray(into) ? ([...into] as never) : { ...into }
  copy[name] = planted(copy[name], rest, value)
  return copy
}
