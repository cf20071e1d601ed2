// What a bounding box parser sees of DeepStream, written down from the documented interface so that
// the parser can be compiled and run without the SDK. Layouts follow DeepStream 9, which has one
// member more than 7 in NvDsInferObjectDetectionInfo.
// https://docs.nvidia.com/metropolis/deepstream/dev-guide/sdk-api/nvdsinfer__custom__impl_8h_source.html
#pragma once

#include <vector>

#define NVDSINFER_MAX_DIMS 8

typedef struct {
    unsigned int numDims;
    unsigned int d[NVDSINFER_MAX_DIMS];
    unsigned int numElements;
} NvDsInferDims;

typedef enum { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3, INT64 = 4 } NvDsInferDataType;

typedef struct {
    NvDsInferDataType dataType;
    union {
        NvDsInferDims inferDims;
        NvDsInferDims dims;
    };
    int bindingIndex;
    const char* layerName;
    void* buffer;
    int isInput;
} NvDsInferLayerInfo;

typedef struct {
    unsigned int width;
    unsigned int height;
    unsigned int channels;
} NvDsInferNetworkInfo;

typedef struct {
    unsigned int classId;
    float left;
    float top;
    float width;
    float height;
    float detectionConfidence;
    float rotation_angle;
} NvDsInferObjectDetectionInfo;

typedef struct {
    unsigned int numClassesConfigured;
    std::vector<float> perClassPreclusterThreshold;
    std::vector<float> perClassPostclusterThreshold;
} NvDsInferParseDetectionParams;

typedef bool (*NvDsInferParseCustomFunc)(const std::vector<NvDsInferLayerInfo>&,
                                         const NvDsInferNetworkInfo&,
                                         const NvDsInferParseDetectionParams&,
                                         std::vector<NvDsInferObjectDetectionInfo>&);

#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(function) \
    [[maybe_unused]] static const NvDsInferParseCustomFunc check_##function = function
