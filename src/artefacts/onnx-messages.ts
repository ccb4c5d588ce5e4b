/** As onnx.proto is: a field that is set is written, even where it is zero or empty. */
const edition = 'proto2';

/**
 * The messages of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) that fuseproof writes or reads, as a
 * protobufjs JSON descriptor: only the fields in use, under their names and numbers of the specification.
 */
export const onnxMessages = {
  nested: {
    ModelProto: {
      edition,
      fields: {
        ir_version: { type: 'int64', id: 1 },
        producer_name: { type: 'string', id: 2 },
        graph: { type: 'GraphProto', id: 7 },
        opset_import: { rule: 'repeated', type: 'OperatorSetIdProto', id: 8 },
      },
    },
    OperatorSetIdProto: {
      edition,
      fields: {
        domain: { type: 'string', id: 1 },
        version: { type: 'int64', id: 2 },
      },
    },
    GraphProto: {
      edition,
      fields: {
        node: { rule: 'repeated', type: 'NodeProto', id: 1 },
        name: { type: 'string', id: 2 },
        initializer: { rule: 'repeated', type: 'TensorProto', id: 5 },
        input: { rule: 'repeated', type: 'ValueInfoProto', id: 11 },
        output: { rule: 'repeated', type: 'ValueInfoProto', id: 12 },
      },
    },
    NodeProto: {
      edition,
      fields: {
        input: { rule: 'repeated', type: 'string', id: 1 },
        output: { rule: 'repeated', type: 'string', id: 2 },
        name: { type: 'string', id: 3 },
        op_type: { type: 'string', id: 4 },
        attribute: { rule: 'repeated', type: 'AttributeProto', id: 5 },
        domain: { type: 'string', id: 7 },
      },
    },
    AttributeProto: {
      edition,
      fields: {
        name: { type: 'string', id: 1 },
        f: { type: 'float', id: 2 },
        i: { type: 'int64', id: 3 },
        s: { type: 'bytes', id: 4 },
        t: { type: 'TensorProto', id: 5 },
        floats: { rule: 'repeated', type: 'float', id: 7 },
        ints: { rule: 'repeated', type: 'int64', id: 8 },
        type: { type: 'int32', id: 20 },
      },
    },
    TensorProto: {
      edition,
      fields: {
        dims: { rule: 'repeated', type: 'int64', id: 1 },
        data_type: { type: 'int32', id: 2 },
        float_data: { rule: 'repeated', type: 'float', id: 4, options: { packed: true } },
        int32_data: { rule: 'repeated', type: 'int32', id: 5, options: { packed: true } },
        int64_data: { rule: 'repeated', type: 'int64', id: 7, options: { packed: true } },
        name: { type: 'string', id: 8 },
        raw_data: { type: 'bytes', id: 9 },
        double_data: { rule: 'repeated', type: 'double', id: 10, options: { packed: true } },
        external_data: { rule: 'repeated', type: 'StringStringEntryProto', id: 13 },
        data_location: { type: 'int32', id: 14 },
      },
    },
    StringStringEntryProto: {
      edition,
      fields: {
        key: { type: 'string', id: 1 },
        value: { type: 'string', id: 2 },
      },
    },
    ValueInfoProto: {
      edition,
      fields: {
        name: { type: 'string', id: 1 },
        type: { type: 'TypeProto', id: 2 },
      },
    },
    TypeProto: {
      edition,
      fields: {
        tensor_type: { type: 'TensorTypeProto', id: 1 },
        sequence_type: { type: 'SequenceTypeProto', id: 4 },
      },
    },
    SequenceTypeProto: { edition, fields: { elem_type: { type: 'TypeProto', id: 1 } } },
    TensorTypeProto: {
      edition,
      fields: {
        elem_type: { type: 'int32', id: 1 },
        shape: { type: 'TensorShapeProto', id: 2 },
      },
    },
    TensorShapeProto: { edition, fields: { dim: { rule: 'repeated', type: 'DimensionProto', id: 1 } } },
    DimensionProto: {
      edition,
      fields: {
        dim_value: { type: 'int64', id: 1 },
        dim_param: { type: 'string', id: 2 },
      },
    },
  },
};

/** TensorProto.DataType. */
export const elementType = { float: 1, int32: 6, int64: 7, float16: 10, double: 11, bfloat16: 16 } as const;

/** `float16`, or a number where it is none of those. */
export function nameOfElementType(type: number): string {
  const known = Object.entries(elementType).find(([, number]) => number === type);
  return known === undefined ? `the element type ${type}` : known[0];
}

/** AttributeProto.AttributeType. */
export const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

export interface AttributeProto {
  readonly name: string;
  readonly type: number;
  readonly f?: number;
  readonly i?: number;
  readonly s?: Uint8Array;
  readonly ints?: readonly number[];
}

export interface NodeProto {
  readonly op_type: string;
  readonly name: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly AttributeProto[];
}

/** A number is a fixed dimension, a string the name of a free one. */
export type Dimension = number | string;

export interface ValueInfoProto {
  readonly name: string;
  readonly type: {
    readonly tensor_type: {
      readonly elem_type: number;
      readonly shape: { readonly dim: readonly ({ readonly dim_value: number } | { readonly dim_param: string })[] };
    };
  };
}

/** Name, element type and shape of a graph's input or output. */
export function valueInfo(name: string, elem_type: number, shape: readonly Dimension[]): ValueInfoProto {
  const dim = shape.map((size) => (typeof size === 'number' ? { dim_value: size } : { dim_param: size }));
  return { name, type: { tensor_type: { elem_type, shape: { dim } } } };
}
