/* Memory operations of streams, as nodes of graphs do them. */
#ifndef VGPU_CUDA_STREAM_MEMORY_H
#define VGPU_CUDA_STREAM_MEMORY_H

#include "cuda/model.h"
#include "cuda/structs_stream.h"

CUresult vgpu_batch(struct vgpu_process *process, struct vgpu_call *call, size_t count,
                    const CUstreamBatchMemOpParams *params);

#endif
