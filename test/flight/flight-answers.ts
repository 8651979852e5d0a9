import { chunk, type createFlightWorld, END } from './flight-driver.ts'

/** What the cache was to a request. */
export const roleOf = ({ headers }: Response) => headers.get('x-switchyard-cache')

export const reasonOf = async (response: Response) => {
  const { error }: { error: { metadata: { reason: string } } } = await response.json()
  return error.metadata.reason
}

export type World = ReturnType<typeof createFlightWorld>

/** Asks, and lets upstream answer the call with this number. */
export async function answered(
  world: World,
  number: number,
  asked: Parameters<World['ask']>[0] = {},
) {
  const response = world.ask(asked)
  const call = await world.call(number)
  call.answer()
  call.end(chunk('a') + END)
  const text = await (await response).text()
  // The answer is kept when its lease is back.
  await world.pass(1)
  return { response: await response, text }
}
