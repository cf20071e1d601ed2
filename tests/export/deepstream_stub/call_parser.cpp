// Calls one of the parsers as nvinfer would: output of one image on stdin, objects on stdout.
// Arguments: raw | end_to_end, rows, columns, classes, side, threshold.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "nvdsinfer_custom_impl.h"

extern "C" bool NvDsInferParseEdgekdRaw(const std::vector<NvDsInferLayerInfo>&,
                                        const NvDsInferNetworkInfo&,
                                        const NvDsInferParseDetectionParams&,
                                        std::vector<NvDsInferObjectDetectionInfo>&);
extern "C" bool NvDsInferParseEdgekdEndToEnd(const std::vector<NvDsInferLayerInfo>&,
                                             const NvDsInferNetworkInfo&,
                                             const NvDsInferParseDetectionParams&,
                                             std::vector<NvDsInferObjectDetectionInfo>&);

int main(int, char** arguments) {
    const unsigned int rows = std::atoi(arguments[2]), columns = std::atoi(arguments[3]);
    const unsigned int classes = std::atoi(arguments[4]), side = std::atoi(arguments[5]);
    std::vector<float> values(rows * columns);
    if (std::fread(values.data(), sizeof(float), values.size(), stdin) != values.size()) {
        return 3;
    }
    NvDsInferLayerInfo layer{};
    layer.dataType = FLOAT;
    layer.inferDims = {2, {rows, columns}, rows * columns};
    layer.buffer = values.data();
    NvDsInferParseDetectionParams params{};
    params.numClassesConfigured = classes;
    params.perClassPreclusterThreshold.assign(classes, std::atof(arguments[6]));
    const bool raw = std::strcmp(arguments[1], "raw") == 0;
    std::vector<NvDsInferObjectDetectionInfo> objects;
    if (!(raw ? NvDsInferParseEdgekdRaw : NvDsInferParseEdgekdEndToEnd)({layer}, {side, side, 3},
                                                                       params, objects)) {
        return 1;
    }
    for (const auto& object : objects) {
        std::printf("%u %.9g %.9g %.9g %.9g %.9g\n", object.classId, object.detectionConfidence,
                    object.left, object.top, object.width, object.height);
    }
    return 0;
}
