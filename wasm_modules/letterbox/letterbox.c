/* letterbox: a picture resized to the size a model takes, in its layout, order and numbers.
 *
 * sl_picture.h says what it computes. Padding is written when the geometry changes, not for every
 * frame: nobody else writes to the image. The last pixel is padding whenever any is, and tells whether
 * the image is still ours.
 */
#include "sl_picture.h"

static sl_picture picture;
static sl_addr padded_image; /* the image that has its padding; 0 when none has */

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    static const uint32_t eight = 8;
    sl_call *call = sl_call_at(address);
    const sl_picture_params *given = sl_params(call, sizeof *given);
    if (call->n_inputs != 1 || call->n_outputs != 2 || !given)
        return sl_fail(SL_E_ARGUMENT, "needs 1 input, 2 outputs and the parameters of its manifest");
    int32_t status = sl_picture_check(given);
    sl_frame first;
    if (!status) status = sl_frame_read(sl_input(call, 0), &first);
    if (status) return status;
    padded_image = 0;
    if (!sl_picture_open(&picture, given, &first, sl_input(call, 0)->capacity))
        return sl_fail(SL_E_MEMORY, "no room for the scratch rows");
    sl_picture_declare(&picture, sl_output(call, 0), 1);
    sl_declare(sl_output(call, 1), SL_I32, 1, &eight);
    return SL_OK;
}

static void pad(const sl_tensor *image) {
    void *data = sl_ptr(image->data);
    uint8_t byte = (uint8_t)picture.params.pad;
    if (!sl_picture_padded(&picture)) return;
    if (padded_image == image->data && emit_last_is(&picture.out, data, byte)) return;
    emit_fill(&picture.out, data, byte);
    padded_image = image->data;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const sl_tensor *image = sl_output(call, 0), *mapping = sl_output(call, 1);
    sl_frame f;
    int32_t status = sl_frame_read(sl_input(call, 0), &f);
    if (status) return status;
    if (f.width > picture.widest / f.channels)
        return sl_fail(SL_E_ARGUMENT, "frame: its rows are longer than what was planned for");
    if (!sl_fits(image) || !sl_fits(mapping))
        return sl_fail(SL_E_CAPACITY, "image, geometry: larger than their buffers");
    if (sl_picture_place(&picture, &f)) padded_image = 0;
    pad(image);
    sl_picture_draw(&picture, &f, sl_ptr(image->data));
    __builtin_memcpy(sl_ptr(mapping->data), picture.geometry, sizeof picture.geometry);
    return SL_OK;
}
