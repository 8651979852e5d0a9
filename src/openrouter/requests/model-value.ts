import { fieldNames } from './field-names.ts'
import { createWalkNotes, fieldsOf } from './json-walk.ts'
import { formModelSpan } from './multipart-model.ts'
import { replaceSpan } from './span.ts'

const encoder = new TextEncoder()
const MODEL = fieldNames(['model'])

/**
 * Replaces the value of the top-level field `model` in a JSON body, and keeps every other byte. Of
 * several such fields it replaces the last, which is also the one that `JSON.parse` reads.
 * @returns the body itself if it has no such field, or is no JSON object
 */
export function withModel(body: Uint8Array, model: string): Uint8Array {
  const whole = { start: 0, end: body.length }
  const span = fieldsOf(body, whole, MODEL, createWalkNotes())?.get('model')
  return span === undefined ? body : replaceSpan(body, span, encoder.encode(JSON.stringify(model)))
}

/**
 * Replaces the value of the text field `model` in a form, and keeps every other byte.
 * @returns null if `readFormModel` finds no model, or if a form cannot hold the new model
 */
export function withFormModel(
  body: Uint8Array,
  contentType: string,
  model: string,
): Uint8Array | null {
  // A value with a line end could contain a delimiter and so end its part.
  if (/[\r\n]/.test(model)) return null
  const span = formModelSpan(body, contentType)
  return span === null ? null : replaceSpan(body, span, encoder.encode(model))
}
